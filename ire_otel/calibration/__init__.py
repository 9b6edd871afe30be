"""Calibration: which principle began to fail, and whether people and the gate score alike."""
