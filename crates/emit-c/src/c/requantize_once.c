/* x * multiplier * 2^(shift - 31), rounded once, halves up; shift is below 31. */
static int32_t model_scale_once(int32_t x, int32_t multiplier, int32_t shift)
{
    const int32_t right = 31 - shift;
    return (int32_t)(((int64_t)x * multiplier + ((int64_t)1 << (right - 1))) >> right);
}
