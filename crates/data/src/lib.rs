//! Labelled data, preprocessing and metrics.
