/* Adds count bytes, a multiple of four, to a wide patch: pairs of 16 bits in the order that sxtb16
   leaves them, every other word. Where the next ones go. */
static int8_t *model_gather(int8_t *to, const int8_t *from, int32_t count)
{
    uint32_t *wide = (uint32_t *)(void *)to;
    for (; count >= 8; count -= 8) {
        const uint32_t v = model_load(from);
        const uint32_t u = model_load(from + 4);
        wide[0] = model_even(v);
        wide[2] = model_odd(v);
        wide[4] = model_even(u);
        wide[6] = model_odd(u);
        wide += 8;
        from += 8;
    }
    if (count > 0) {
        const uint32_t v = model_load(from);
        wide[0] = model_even(v);
        wide[2] = model_odd(v);
        wide += 4;
    }
    return (int8_t *)wide;
}
