//! TFLite files to fewbits graphs and back.
