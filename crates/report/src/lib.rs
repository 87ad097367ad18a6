//! What was measured, as tables and JSON.
