//! Operators that exporters spell out in primitives, put together again.
//!
//! The patterns compare what is computed, not how it is written down: products are flattened, and
//! arguments compared as polynomials, so that `x·0.5·(1 + erf(x/√2))` is found in whichever order
//! it was multiplied.

mod algebra;
pub(super) mod exponential;
pub(super) mod gated;
pub(super) mod global_pool;
pub(super) mod hard_sigmoid;
pub(super) mod l2_norm;
pub(super) mod layer_norm;
