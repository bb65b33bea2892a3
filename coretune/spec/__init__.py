"""Study files, RunSpec and EvalSpec, and the torch-free catalog of what they can name."""
