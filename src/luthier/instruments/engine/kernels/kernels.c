/*
 * What lies between a model's matrix products, each in one pass over memory; and attention weights.
 *
 * Tensors are bfloat16 ("narrow", 16 bits) or float32 ("wide"), arithmetic is float32. Rows are independent of each
 * other, so results do not depend on the number of threads. No state, no allocation that outlives a call. Each
 * function is named, checked and explained in calls.py; shape suffixes are those of segments.py.
 *
 * For GCC on x86 with AVX512-BF16: other compilers' OpenMP would bring a second pool of threads beside torch's, and
 * without such products bfloat16 does not pay.
 */

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint16_t narrow_t;

/* build.py defines TILE, the keys of one tile, and TILE_ROWS, its queries. */
#define LANES 16    /* float32 numbers of a register */
#define SMALL 32768 /* numbers below which waking threads costs more than they save */

static inline float widen(narrow_t number)
{
    uint32_t bits = (uint32_t)number << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* Round to nearest, ties to even; what is not a number stays so. */
static inline narrow_t narrow(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    narrow_t rounded = (narrow_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
    return number != number ? (narrow_t)0x7fc0u : rounded;
}

/*
 * e^x within two units of the last place: x = n ln 2 + r, a polynomial in r (Cephes, expf), n into the exponent.
 * Below the smallest normal number it is 0, above the greatest it stays there, and what is not a number stays so.
 */
static inline float exponential(float x)
{
    float bounded = x < -87.33f ? -87.33f : (x > 88.37f ? 88.37f : x);
    float n = rintf(bounded * 1.44269504088896341f);
    float r = bounded - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    uint32_t exponent = ((uint32_t)(int32_t)n + 127u) << 23;
    float power;
    memcpy(&power, &exponent, sizeof power);
    return x < -87.33f ? 0.0f : p * power;
}

void norm_forward(const float *restrict x, const float *restrict weight, narrow_t *restrict y, float *restrict scale,
                  long rows, long width, float offset, float eps)
{
#pragma omp parallel for schedule(static) if (rows * width > SMALL)
    for (long i = 0; i < rows; i++) {
        const float *xi = x + i * width;
        narrow_t *yi = y + i * width;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (long j = 0; j < width; j++)
            sum += xi[j] * xi[j];
        float factor = 1.0f / sqrtf(sum / (float)width + eps);
        scale[i] = factor;
#pragma omp simd
        for (long j = 0; j < width; j++)
            yi[j] = narrow(xi[j] * factor * (weight[j] + offset));
    }
}

void norm_backward(const narrow_t *restrict grad, const float *restrict x, const float *restrict weight,
                   const float *restrict scale, float *restrict grad_x, long rows, long width, float offset)
{
#pragma omp parallel for schedule(static) if (rows * width > SMALL)
    for (long i = 0; i < rows; i++) {
        const narrow_t *gi = grad + i * width;
        const float *xi = x + i * width;
        float *oi = grad_x + i * width;
        float factor = scale[i], dot = 0.0f;
#pragma omp simd reduction(+ : dot)
        for (long j = 0; j < width; j++)
            dot += widen(gi[j]) * (weight[j] + offset) * xi[j];
        dot *= factor / (float)width;
#pragma omp simd
        for (long j = 0; j < width; j++)
            oi[j] = (widen(gi[j]) * (weight[j] + offset) - xi[j] * factor * dot) * factor;
    }
}

void swiglu_forward(const narrow_t *restrict gate, const narrow_t *restrict up, narrow_t *restrict y, long count)
{
#pragma omp parallel for simd schedule(static) if (count > SMALL)
    for (long i = 0; i < count; i++) {
        float g = widen(gate[i]);
        y[i] = narrow(g / (1.0f + exponential(-g)) * widen(up[i]));
    }
}

void swiglu_backward(const narrow_t *restrict grad, const narrow_t *restrict gate, const narrow_t *restrict up,
                     narrow_t *restrict grad_gate, narrow_t *restrict grad_up, long count)
{
#pragma omp parallel for simd schedule(static) if (count > SMALL)
    for (long i = 0; i < count; i++) {
        float g = widen(gate[i]), d = widen(grad[i]);
        float sigmoid = 1.0f / (1.0f + exponential(-g));
        grad_gate[i] = narrow(d * widen(up[i]) * sigmoid * (1.0f + g * (1.0f - sigmoid)));
        grad_up[i] = narrow(d * g * sigmoid);
    }
}

/* Steps are those from one token, or one head, to the next. */
void rotate(const narrow_t *restrict x, long x_token, long x_head, const float *restrict cosines,
            const float *restrict sines, long angle_token, narrow_t *restrict y, long y_token, long y_head, long tokens,
            long heads, long half, float sense)
{
#pragma omp parallel for schedule(static) if (tokens * heads * half > SMALL)
    for (long i = 0; i < tokens; i++) {
        const float *c = cosines + i * angle_token, *s = sines + i * angle_token;
        for (long h = 0; h < heads; h++) {
            const narrow_t *a = x + i * x_token + h * x_head;
            narrow_t *b = y + i * y_token + h * y_head;
#pragma omp simd
            for (long k = 0; k < half; k++) {
                float low = widen(a[k]), high = widen(a[k + half]), turn = s[k] * sense;
                b[k] = narrow(low * c[k] - high * turn);
                b[k + half] = narrow(high * c[k] + low * turn);
            }
        }
    }
}

/* Keys (X, T, K) to (X, K/2, T, 2): what one instruction multiplies lies side by side. */
void pack_keys(const narrow_t *restrict keys, narrow_t *restrict packed, long heads, long tokens, long width)
{
    long pairs = width / 2;
#pragma omp parallel for schedule(static) if (heads * tokens * width > SMALL)
    for (long x = 0; x < heads; x++) {
        const uint32_t *from = (const uint32_t *)(keys + x * tokens * width);
        uint32_t *to = (uint32_t *)(packed + x * tokens * width);
        for (long block = 0; block < tokens; block += LANES)
            for (long pair = 0; pair < pairs; pair++)
                for (long t = block; t < block + LANES; t++)
                    to[pair * tokens + t] = from[t * pairs + pair];
    }
}

/* Scaled products of TILE_ROWS queries and TILE keys, summed in float32. */
static inline void multiply_tile(const uint32_t *query, long pairs, const uint32_t *keys, long tokens, float *scores,
                                 long row, float scaling)
{
    __m512 sums[TILE_ROWS][TILE / LANES];
    for (int r = 0; r < TILE_ROWS; r++)
        for (int c = 0; c < TILE / LANES; c++)
            sums[r][c] = _mm512_setzero_ps();
    for (long pair = 0; pair < pairs; pair++) {
        __m512bh key[TILE / LANES];
        for (int c = 0; c < TILE / LANES; c++)
            key[c] = (__m512bh)_mm512_loadu_si512(keys + pair * tokens + LANES * c);
        for (int r = 0; r < TILE_ROWS; r++) {
            __m512bh own = (__m512bh)_mm512_set1_epi32((int)query[r * pairs + pair]);
            for (int c = 0; c < TILE / LANES; c++)
                sums[r][c] = _mm512_dpbf16_ps(sums[r][c], own, key[c]);
        }
    }
    __m512 factor = _mm512_set1_ps(scaling);
    for (int r = 0; r < TILE_ROWS; r++)
        for (int c = 0; c < TILE / LANES; c++)
            _mm512_storeu_ps(scores + r * row + LANES * c, _mm512_mul_ps(sums[r][c], factor));
}

/* Softmax of the first keys of a row; the rest gets no weight. */
static inline void soften(float *restrict scores, narrow_t *restrict weights, long keys, long all)
{
    float top = scores[0], sum = 0.0f;
#pragma omp simd reduction(max : top)
    for (long t = 0; t < keys; t++)
        top = scores[t] > top ? scores[t] : top;
#pragma omp simd reduction(+ : sum)
    for (long t = 0; t < keys; t++) {
        float power = exponential(scores[t] - top);
        scores[t] = power;
        sum += power;
    }
    float share = 1.0f / sum;
#pragma omp simd
    for (long t = 0; t < keys; t++)
        weights[t] = narrow(scores[t] * share);
    memset(weights + keys, 0, sizeof(narrow_t) * (size_t)(all - keys));
}

/*
 * Attention weights (X R, num, seen) of the queries start to start + num of (X R, Q, K); query q of them sees the
 * first num_before + start + q + 1 keys. 0 where memory ran out, else 1.
 */
int weigh(const narrow_t *restrict queries, const narrow_t *restrict packed, narrow_t *restrict weights, long heads,
          long heads_per_key, long num_queries, long num_keys, long width, long start, long num, long seen,
          long num_before, float scaling)
{
    long pairs = width / 2, groups = num / TILE_ROWS;
    int is_done = 1;
#pragma omp parallel if (heads * num * seen > SMALL)
    {
        float *scores = malloc(sizeof(float) * TILE_ROWS * (size_t)seen);
#pragma omp for schedule(dynamic, 4)
        for (long task = 0; task < heads * groups; task++) {
            if (!scores) {
#pragma omp atomic write
                is_done = 0;
                continue;
            }
            long head = task / groups, first = task % groups * TILE_ROWS, keys = num_before + start + first + 1;
            const uint32_t *query = (const uint32_t *)(queries + (head * num_queries + start + first) * width);
            const uint32_t *key = (const uint32_t *)(packed + head / heads_per_key * num_keys * width);
            for (long t = 0; t < keys + TILE_ROWS - 1; t += TILE)
                multiply_tile(query, pairs, key + t, num_keys, scores + t, seen, scaling);
            for (long r = 0; r < TILE_ROWS; r++)
                soften(scores + r * seen, weights + (head * num + first + r) * seen, keys + r, seen);
        }
        free(scores);
    }
    return is_done;
}

/* Log-probabilities of the targets, and where asked for their gradient in place of the products. */
void take_logps(narrow_t *restrict products, const int64_t *restrict targets, float *restrict logps, long rows,
                long vocabulary, int keeps_gradient)
{
#pragma omp parallel for schedule(static) if (rows * vocabulary > SMALL)
    for (long i = 0; i < rows; i++) {
        narrow_t *row = products + i * vocabulary;
        float top = widen(row[0]), sum = 0.0f;
#pragma omp simd reduction(max : top)
        for (long v = 0; v < vocabulary; v++) {
            float logit = widen(row[v]);
            top = logit > top ? logit : top;
        }
#pragma omp simd reduction(+ : sum)
        for (long v = 0; v < vocabulary; v++)
            sum += exponential(widen(row[v]) - top);
        float normaliser = top + logf(sum), own = widen(row[targets[i]]);
        logps[i] = own - normaliser;
        if (!keeps_gradient)
            continue;
#pragma omp simd
        for (long v = 0; v < vocabulary; v++)
            row[v] = narrow(-exponential(widen(row[v]) - normaliser));
        row[targets[i]] = narrow(1.0f - exponential(own - normaliser));
    }
}
