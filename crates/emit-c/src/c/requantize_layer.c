/* As model_scale_any: some layer of this model has a multiplier of at least one half, or large sums. */
static inline int32_t model_scale(int32_t x, int32_t multiplier, int32_t shift)
{
    return model_scale_any(x, multiplier, shift);
}
