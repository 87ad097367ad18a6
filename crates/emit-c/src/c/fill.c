/* Sets bytes to one value. */
static void model_fill(int8_t *to, int32_t value, int32_t count)
{
    memset(to, value & 255, (size_t)count);
}
