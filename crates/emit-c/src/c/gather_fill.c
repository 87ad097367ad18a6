/* Adds count times one value to a patch; where the next ones go. */
static int8_t *model_gather_fill(int8_t *to, int32_t value, int32_t count)
{
    memset(to, value & 255, (size_t)count);
    return to + count;
}
