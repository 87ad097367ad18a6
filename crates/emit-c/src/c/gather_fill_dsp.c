/* Adds count times one value, a multiple of four, to a wide patch; where the next ones go. */
static int8_t *model_gather_fill(int8_t *to, int32_t value, int32_t count)
{
    uint32_t *wide = (uint32_t *)(void *)to;
    const uint32_t both = ((uint32_t)value & 0xffffu) | ((uint32_t)value << 16);
    for (; count > 0; count -= 4) {
        wide[0] = both;
        wide[2] = both;
        wide += 4;
    }
    return (int8_t *)wide;
}
