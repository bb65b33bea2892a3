"""How a trained model holds up: attacks, common corruptions, calibration."""
