/* Makes k values wide: pairs of 16 bits in the order that sxtb16 leaves them, every other word; the
   last four filled up with zeros. */
static void model_widen(const int8_t *x, int32_t k, uint32_t *wide)
{
    for (; k >= 4; k -= 4) {
        const uint32_t v = model_load(x);
        wide[0] = model_even(v);
        wide[2] = model_odd(v);
        wide += 4;
        x += 4;
    }
    if (k > 0) {
        uint32_t v = (uint8_t)x[0];
        if (k > 1) {
            v |= (uint32_t)(uint8_t)x[1] << 8;
        }
        if (k > 2) {
            v |= (uint32_t)(uint8_t)x[2] << 16;
        }
        wide[0] = model_even(v);
        wide[2] = model_odd(v);
    }
}

/* Two pixels of k values through all filters. */
static void model_dense_pair(const int8_t *x0, const int8_t *x1, const model_layer *layer, int8_t *scratch, int8_t *y0,
                             int8_t *y1)
{
    uint32_t *const wide = (uint32_t *)(void *)scratch;
    model_widen(x0, layer->k, wide);
    model_widen(x1, layer->k, wide + 1);
    model_dense_wide(scratch, layer, y0, y1);
}
