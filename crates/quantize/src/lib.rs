//! Calibration and the passes that give a graph narrower types.
