#if defined(__GNUC__) && defined(__thumb2__)
/* A word of two filters with a wide word of two pixels: sixteen products. */
#define MODEL_WORD                                                                                                     \
    "ldr %[p], [%[v]], #4\n\t"                                                                                         \
    "ldr %[q], [%[u]], #4\n\t"                                                                                         \
    "ldrd %[l], %[r], [%[a]], #8\n\t"                                                                                  \
    "sxtb16 %[t], %[p]\n\t"                                                                                            \
    "smlad %[s00], %[t], %[l], %[s00]\n\t"                                                                             \
    "smlad %[s10], %[t], %[r], %[s10]\n\t"                                                                             \
    "sxtb16 %[t], %[q]\n\t"                                                                                            \
    "smlad %[s01], %[t], %[l], %[s01]\n\t"                                                                             \
    "smlad %[s11], %[t], %[r], %[s11]\n\t"                                                                             \
    "ldrd %[l], %[r], [%[a]], #8\n\t"                                                                                  \
    "sxtb16 %[t], %[p], ror #8\n\t"                                                                                    \
    "smlad %[s00], %[t], %[l], %[s00]\n\t"                                                                             \
    "smlad %[s10], %[t], %[r], %[s10]\n\t"                                                                             \
    "sxtb16 %[t], %[q], ror #8\n\t"                                                                                    \
    "smlad %[s01], %[t], %[l], %[s01]\n\t"                                                                             \
    "smlad %[s11], %[t], %[r], %[s11]\n\t"
#endif

/* Two pixels that model_gather or model_widen made wide through all filters: two filters at a time,
   two products an instruction. A filter is read in whole words; what is read past its end meets
   zeros. */
static void model_dense_wide(const int8_t *x, const model_layer *shared, int8_t *y0, int8_t *y1)
{
    const model_layer layer = *shared;
    const int32_t k = layer.k;
    const uint32_t *const wide = (const uint32_t *)(const void *)x;
    const int8_t *w = layer.weights;
    int32_t c = 0;
    for (; c + 1 < layer.n; c += 2) {
        const uint32_t *a = wide;
        const int8_t *v = w;
        int32_t s00 = layer.channels[c].bias;
        int32_t s01 = layer.channels[c + 1].bias;
        int32_t s10 = s00;
        int32_t s11 = s01;
        int32_t words = (k + 3) >> 2;
#if defined(__GNUC__) && defined(__thumb2__)
        /* What the loop below says, in the thirteen registers that there are. */
        if (words > 1) {
            const int8_t *u = v + k;
            int32_t pairs = words >> 1;
            uint32_t p, q, left, right, t;
            __asm__("1:\n\t" MODEL_WORD MODEL_WORD "subs %[n], #1\n\tbne 1b"
                    : [s00] "+r"(s00), [s01] "+r"(s01), [s10] "+r"(s10), [s11] "+r"(s11), [v] "+r"(v), [u] "+r"(u),
                      [a] "+r"(a), [n] "+r"(pairs), [p] "=&r"(p), [q] "=&r"(q), [l] "=&r"(left), [r] "=&r"(right),
                      [t] "=&r"(t)
                    :
                    : "cc", "memory");
            words &= 1;
        }
#endif
        for (; words > 0; --words) {
            const uint32_t p = model_load(v);
            const uint32_t q = model_load(v + k);
            const uint32_t p0 = model_even(p);
            const uint32_t q0 = model_even(q);
            const uint32_t p1 = model_odd(p);
            const uint32_t q1 = model_odd(q);
            s00 = model_mac2(p0, a[0], s00);
            s01 = model_mac2(q0, a[0], s01);
            s10 = model_mac2(p0, a[1], s10);
            s11 = model_mac2(q0, a[1], s11);
            s00 = model_mac2(p1, a[2], s00);
            s01 = model_mac2(q1, a[2], s01);
            s10 = model_mac2(p1, a[3], s10);
            s11 = model_mac2(q1, a[3], s11);
            v += 4;
            a += 4;
        }
        y1[c] = model_finish(s10, &layer, c);
        y0[c] = model_finish(s00, &layer, c);
        y1[c + 1] = model_finish(s11, &layer, c + 1);
        y0[c + 1] = model_finish(s01, &layer, c + 1);
        w += 2 * k;
    }
    if (c < layer.n) {
        const uint32_t *a = wide;
        int32_t s0 = layer.channels[c].bias;
        int32_t s1 = s0;
        for (int32_t i = 0; i < k; i += 4) {
            const uint32_t p = model_load(w + i);
            s0 = model_mac2(model_odd(p), a[2], model_mac2(model_even(p), a[0], s0));
            s1 = model_mac2(model_odd(p), a[3], model_mac2(model_even(p), a[1], s1));
            a += 4;
        }
        y1[c] = model_finish(s1, &layer, c);
        y0[c] = model_finish(s0, &layer, c);
    }
}
