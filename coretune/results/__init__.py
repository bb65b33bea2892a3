"""What runs leave behind: records, evaluations, the search of each cell, and where they lie."""
