/* What a step computes, for processors: products with prepacked weights, adapters, rotary embeddings and attention of generated tokens.
 *
 * A few rows are too few for general libraries: their products neither keep the processor busy nor the memory. Here a product reads the
 * weights once, in the order in which they lie, while it computes with those that it has; and what comes before and after it (norm, gate,
 * bias, residual) is done on the way.
 *
 * All numbers are single precision; all matrices are dense and row by row but for packed ones. Every function is called by one thread and
 * computes in an OpenMP team. Nothing is allocated: buffers come from the caller. */
#include <math.h>
#include <omp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Numbers in a register. */
#if !defined(WIDTH)
#if defined(__AVX512F__)
#define WIDTH 16
#elif defined(__AVX__)
#define WIDTH 8
#else
#define WIDTH 4
#endif
#endif
#if WIDTH == 16
enum { LANES = 16, ROWS = 8, VECTORS = 3 };
#elif WIDTH == 8
enum { LANES = 8, ROWS = 6, VECTORS = 2 };
#else
enum { LANES = 4, ROWS = 6, VECTORS = 3 };
#endif
/* A panel is so many outputs of a packed matrix: [panels][inputs][PANEL]. A tile of ROWS by PANEL sums fits the registers. */
enum { PANEL = LANES * VECTORS, LINE = 64, LINES = (PANEL * 4 + LINE - 1) / LINE };
/* Inputs that are summed up before the sums go back to memory: so much of a panel stays in the second cache. */
enum { DEPTH = 2048 };
/* Numbers of the inputs that are laid out at once; they stay in the caches while all panels pass. */
enum { LAID_OUT = 1 << 19 };
/* Positions whose scores are held at once. */
enum { CHUNK = 256 };
/* Tokens of one adapter that are computed together, and heads of queries that share keys. */
enum { TOGETHER = 4 };

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))
#define LOAD(p) (*(const vec *)(p))
#define STORE(p, v) (*(vec *)(p) = (v))

int tenon_panel(void) { return PANEL; }

INLINE size_t laid_out(size_t inputs) { return LAID_OUT > ROWS * 8 * inputs ? LAID_OUT : ROWS * 8 * inputs; }

/* Numbers of scratch that ``tenon_linear`` needs for so many inputs. */
size_t tenon_scratch(size_t inputs, size_t threads) { return laid_out(inputs) + threads * inputs; }

INLINE float sum_of(vec v) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += v[i];
    return sum;
}

/* e^x within 2 ulp (Cephes' polynomial); 0 below -87; what is no number stays none. */
INLINE vec exp_of(vec x) {
    const ivec number = x == x;
    const vec given = x;
    const vec low = (vec){0} - 87.0f, high = (vec){0} + 88.0f;
    const ivec tiny = x < low;
    ivec take = x < low;
    x = (vec)((take & (ivec)low) | (~take & (ivec)x));
    take = x > high;
    x = (vec)((take & (ivec)high) | (~take & (ivec)x));
    const vec magic = (vec){0} + 12582912.0f; /* adding 1.5 * 2^23 rounds to a whole number */
    vec whole = x * 1.44269504f + magic;
    ivec exponent = (ivec)whole - (ivec)magic;
    whole -= magic;
    vec r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    vec y = p * r * r + r + 1.0f;
    y = (vec)((ivec)y + (exponent << 23));
    return (vec)((number & ~tiny & (ivec)y) | (~number & (ivec)given));
}

/* ---- Products ---- */

void tenon_pack(const float *matrix, float *packed, size_t outputs, size_t inputs) {
    size_t panels = (outputs + PANEL - 1) / PANEL;
#pragma omp parallel for schedule(static)
    for (size_t p = 0; p < panels; p++) {
        size_t here = outputs - p * PANEL < PANEL ? outputs - p * PANEL : PANEL;
        const float *from = matrix + p * PANEL * inputs;
        float *to = packed + p * PANEL * inputs;
        for (size_t k = 0; k < inputs; k++) {
            for (size_t j = 0; j < here; j++) to[k * PANEL + j] = from[j * inputs + k];
            for (size_t j = here; j < PANEL; j++) to[k * PANEL + j] = 0;
        }
    }
}

/* One tile: sums [rows][PANEL] of ``depth`` inputs, which lie as x[depth][rows] and w[depth][PANEL]. ``ahead`` is read into the cache. */
INLINE void tile(int rows, int lines, const float *restrict x, const float *restrict w, size_t depth, float *restrict y, size_t pitch,
                 const char *ahead, size_t stride) {
    vec c[ROWS][VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECTORS; v++) c[r][v] = LOAD(y + r * pitch + v * LANES);
    for (size_t k = 0; k < depth; k++) {
        vec b[VECTORS];
        for (int v = 0; v < VECTORS; v++) b[v] = LOAD(w + v * LANES);
        for (int i = 0; i < lines; i++) __builtin_prefetch(ahead + i * LINE, 0, 2);
        ahead += stride;
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < VECTORS; v++) c[r][v] += x[r] * b[v];
        x += rows;
        w += PANEL;
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECTORS; v++) STORE(y + r * pitch + v * LANES, c[r][v]);
}

#define TILE(n)                                                                                                    \
    case n:                                                                                                        \
        if (LINES > 1 && stride > LINE) tile(n, LINES, x, w, depth, y, pitch, ahead, stride);                      \
        else tile(n, 1, x, w, depth, y, pitch, ahead, stride);                                                     \
        break;

static void any_tile(size_t rows, const float *x, const float *w, size_t depth, float *y, size_t pitch, const char *ahead, size_t stride) {
    switch (rows) {
        TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)
#if WIDTH == 16
        TILE(7) TILE(8)
#endif
    }
}

/* What the inputs of a product are made of. */
enum { PLAIN = 0, NORM = 1, GATE = 2 };

typedef struct {
    int kind;
    const float *weight; /* of a norm [inputs] */
    float eps;
    float *kept; /* [tokens][inputs] the inputs as they were multiplied, or NULL */
} Before;

/* One token's inputs: root mean square norm (Zhang and Sennrich, 2019), or silu(gate) * up of [gate | up]. */
static void prepare(const Before *before, const float *x, float *to, size_t inputs) {
    size_t whole = inputs - inputs % LANES;
    if (before->kind == NORM) {
        vec sums[4] = {{0}};
        size_t k = 0;
        for (; k + 4 * LANES <= inputs; k += 4 * LANES)
            for (int i = 0; i < 4; i++) sums[i] += LOAD(x + k + i * LANES) * LOAD(x + k + i * LANES);
        float square = sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
        for (; k < inputs; k++) square += x[k] * x[k];
        float scale = 1 / sqrtf(square / (float)inputs + before->eps);
        for (k = 0; k < whole; k += LANES) STORE(to + k, LOAD(x + k) * scale * LOAD(before->weight + k));
        for (; k < inputs; k++) to[k] = x[k] * scale * before->weight[k];
        return;
    }
    const float *gate = x, *up = x + inputs;
    for (size_t k = 0; k < whole; k += LANES) {
        vec g = LOAD(gate + k);
        STORE(to + k, g / (1.0f + exp_of(-g)) * LOAD(up + k));
    }
    for (size_t k = whole; k < inputs; k++) to[k] = gate[k] / (1 + expf(-gate[k])) * up[k];
}

INLINE void lay_out(size_t rows, const float *x, size_t pitch, float *to, size_t inputs) {
    for (size_t k = 0; k < inputs; k++)
        for (size_t r = 0; r < rows; r++) to[k * rows + r] = x[r * pitch + k];
}

static void any_lay_out(size_t rows, const float *x, size_t pitch, float *to, size_t inputs) {
    switch (rows) {
    case 1: lay_out(1, x, pitch, to, inputs); break;
    case 2: lay_out(2, x, pitch, to, inputs); break;
    case 3: lay_out(3, x, pitch, to, inputs); break;
    case 4: lay_out(4, x, pitch, to, inputs); break;
    case 5: lay_out(5, x, pitch, to, inputs); break;
    case 6: lay_out(6, x, pitch, to, inputs); break;
    default: lay_out(rows, x, pitch, to, inputs);
    }
}

typedef struct {
    const float *packed; /* [panels][inputs][PANEL] */
    const float *bias;   /* [outputs] or NULL */
    size_t outputs, inputs;
} Matrix;

/* What a tile's sums begin with: bias and residual. ``here`` of the PANEL columns exist. */
INLINE void begin_sums(float *sums, size_t pitch, const float *bias, const float *residual, size_t outputs, size_t rows, size_t here) {
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < here; j++)
            sums[r * pitch + j] = (bias ? bias[j] : 0) + (residual ? residual[r * outputs + j] : 0);
}

/* One panel for all rows that are laid out. */
static void panel_of(const Matrix *m, size_t p, const float *laid, const float *residual, float *y, size_t rows, size_t tiles) {
    const float *w = m->packed + p * PANEL * m->inputs, *bias = m->bias ? m->bias + p * PANEL : NULL;
    size_t here = m->outputs - p * PANEL < PANEL ? m->outputs - p * PANEL : PANEL;
    size_t stride = (PANEL * 4 + tiles - 1) / tiles;
    float own[ROWS * PANEL];
    for (size_t k = 0; k < m->inputs; k += DEPTH) {
        size_t depth = m->inputs - k < DEPTH ? m->inputs - k : DEPTH;
        for (size_t t = 0; t < tiles; t++) {
            size_t first = rows * t / tiles, count = rows * (t + 1) / tiles - first;
            float *to = y + first * m->outputs + p * PANEL;
            const float *more = residual ? residual + first * m->outputs + p * PANEL : NULL;
            const float *x = laid + first * m->inputs + k * count;
            const char *ahead = (const char *)(w + (m->inputs + k) * PANEL) + t * stride * depth;
            if (here == PANEL) {
                if (k == 0) begin_sums(to, m->outputs, bias, more, m->outputs, count, PANEL);
                any_tile(count, x, w + k * PANEL, depth, to, m->outputs, ahead, stride);
                continue;
            }
            /* The last panel may be wider than what is left of the outputs. */
            memset(own, 0, sizeof own);
            if (k == 0) begin_sums(to, m->outputs, bias, more, m->outputs, count, here);
            for (size_t r = 0; r < count; r++) memcpy(own + r * PANEL, to + r * m->outputs, here * sizeof *own);
            any_tile(count, x, w + k * PANEL, depth, own, PANEL, ahead, stride);
            for (size_t r = 0; r < count; r++) memcpy(to + r * m->outputs, own + r * PANEL, here * sizeof *own);
        }
    }
}

/* y[tokens][outputs] = residual + bias + before(x) matrix^T. ``y`` may be ``residual``. ``scratch`` is as large as
 * ``tenon_scratch`` says for at most ``most_threads``. */
void tenon_linear(const Matrix *m, const Before *before, const float *x, const float *residual, float *y, size_t tokens, float *scratch,
                  size_t most_threads) {
    size_t inputs = m->inputs, pitch = before->kind == GATE ? 2 * inputs : inputs;
    size_t panels = (m->outputs + PANEL - 1) / PANEL;
    size_t most = laid_out(inputs) / inputs, blocks = (tokens + most - 1) / most;
    int team = omp_get_max_threads() < (int)most_threads ? omp_get_max_threads() : (int)most_threads;
#pragma omp parallel num_threads(team)
    {
        size_t threads = (size_t)omp_get_num_threads(), me = (size_t)omp_get_thread_num();
        float *spare = scratch + laid_out(inputs) + me * inputs;
        for (size_t b = 0; b < blocks; b++) {
            size_t begin = tokens * b / blocks, rows = tokens * (b + 1) / blocks - begin, tiles = (rows + ROWS - 1) / ROWS;
            for (size_t t = tiles * me / threads; t < tiles * (me + 1) / threads; t++) {
                size_t first = rows * t / tiles, count = rows * (t + 1) / tiles - first;
                float *to = scratch + first * inputs;
                const float *from = x + (begin + first) * pitch;
                if (before->kind == PLAIN) {
                    any_lay_out(count, from, pitch, to, inputs);
                    continue;
                }
                for (size_t r = 0; r < count; r++) {
                    float *row = before->kept ? before->kept + (begin + first + r) * inputs : spare;
                    prepare(before, from + r * pitch, row, inputs);
                    for (size_t k = 0; k < inputs; k++) to[k * count + r] = row[k];
                }
            }
#pragma omp barrier
            for (size_t p = panels * me / threads; p < panels * (me + 1) / threads; p++)
                panel_of(m, p, scratch, residual ? residual + begin * m->outputs : NULL, y + begin * m->outputs, rows, tiles);
#pragma omp barrier
        }
    }
}

/* ---- Adapters ---- */

typedef struct {
    const float *b;     /* [slots][rank][outputs] */
    const float *gain;  /* [slots][outputs] or NULL */
    const float *shift; /* [slots][outputs] or NULL */
    size_t low;         /* the first of its numbers among those of A x */
    size_t rank;
    size_t begin;   /* the first of its outputs among those of the group */
    size_t outputs; /* how many */
} Part;

typedef struct {
    const float *a; /* [slots][low][inputs] */
    size_t low;     /* numbers of A x */
    size_t inputs;
    size_t count;
    const Part *parts;
} Stack;

enum { LOW = 16 };

/* ``count`` numbers of A x, for some tokens. */
INLINE void shrink(int tokens, const float *a, size_t count, const float *x, size_t inputs, float *low) {
    size_t whole = inputs - inputs % LANES;
    for (size_t r = 0; r < count; r += 2) {
        size_t second = r + 1 < count ? inputs : 0;
        vec sums[TOGETHER][2] = {{{0}}};
        const float *row = a + r * inputs;
        for (size_t k = 0; k < whole; k += LANES) {
            vec one = LOAD(row + k), other = LOAD(row + second + k);
            /* The next rows, which may be the next adapter's: most adapters are read from memory in every step. */
            __builtin_prefetch(row + 2 * inputs + k);
            __builtin_prefetch(row + 3 * inputs + k);
            for (int t = 0; t < tokens; t++) {
                vec v = LOAD(x + t * inputs + k);
                sums[t][0] += one * v;
                sums[t][1] += other * v;
            }
        }
        for (int t = 0; t < tokens; t++) {
            float one = sum_of(sums[t][0]), other = sum_of(sums[t][1]);
            for (size_t k = whole; k < inputs; k++) {
                one += row[k] * x[t * inputs + k];
                other += row[second + k] * x[t * inputs + k];
            }
            low[t * LOW + r] = one;
            if (second) low[t * LOW + r + 1] = other;
        }
    }
}

/* Adds B low to the outputs of some tokens; ``count`` rows of B. */
INLINE void expand(int tokens, const float *b, size_t count, const float *low, float *y, size_t outputs, size_t pitch) {
    size_t whole = outputs - outputs % LANES;
    for (size_t j = 0; j < whole; j += LANES) {
        vec sums[TOGETHER];
        for (int t = 0; t < tokens; t++) sums[t] = LOAD(y + t * pitch + j);
        for (size_t r = 0; r < count; r++) {
            vec v = LOAD(b + r * outputs + j);
            for (int t = 0; t < tokens; t++) sums[t] += low[t * LOW + r] * v;
        }
        for (int t = 0; t < tokens; t++) STORE(y + t * pitch + j, sums[t]);
    }
    for (size_t j = whole; j < outputs; j++)
        for (int t = 0; t < tokens; t++)
            for (size_t r = 0; r < count; r++) y[t * pitch + j] += low[t * LOW + r] * b[r * outputs + j];
}

INLINE void adapt(int tokens, const Stack *stack, size_t slot, const float *x, float *y, size_t pitch) {
    const float *a = stack->a + slot * stack->low * stack->inputs;
    float low[TOGETHER * LOW];
    for (size_t p = 0; p < stack->count; p++) {
        const Part *part = stack->parts + p;
        float *to = y + part->begin;
        if (part->gain) {
            const float *gain = part->gain + slot * part->outputs, *shift = part->shift + slot * part->outputs;
            for (int t = 0; t < tokens; t++)
                for (size_t j = 0; j < part->outputs; j++) to[t * pitch + j] = to[t * pitch + j] * gain[j] + shift[j];
        }
        for (size_t r = 0; r < part->rank; r += LOW) {
            size_t count = part->rank - r < LOW ? part->rank - r : LOW;
            shrink(tokens, a + (part->low + r) * stack->inputs, count, x, stack->inputs, low);
            expand(tokens, part->b + (slot * part->rank + r) * part->outputs, count, low, to, part->outputs, pitch);
        }
    }
}

/* y[tokens][pitch] is changed by each token's adapter: those of ``slots``, where neighbours with the same slot are computed together. */
void tenon_adapt(const Stack *stack, const int32_t *slots, const float *x, float *y, size_t tokens, size_t pitch) {
#pragma omp parallel
    {
        size_t threads = (size_t)omp_get_num_threads(), me = (size_t)omp_get_thread_num();
        size_t end = tokens * (me + 1) / threads;
        for (size_t t = tokens * me / threads; t < end;) {
            size_t count = 1;
            while (count < TOGETHER && t + count < end && slots[t + count] == slots[t]) count++;
            const float *from = x + t * stack->inputs;
            float *to = y + t * pitch;
            switch (count) {
            case 1: adapt(1, stack, (size_t)slots[t], from, to, pitch); break;
            case 2: adapt(2, stack, (size_t)slots[t], from, to, pitch); break;
            case 3: adapt(3, stack, (size_t)slots[t], from, to, pitch); break;
            default: adapt(4, stack, (size_t)slots[t], from, to, pitch);
            }
            t += count;
        }
    }
}

/* ---- Attention ---- */

typedef struct {
    size_t heads, shared, width; /* of queries; of keys and values; numbers of each. Queries, keys and values lie one after another. */
    const float *query_norm, *key_norm; /* [width] or NULL */
    float eps, scaling;
    size_t window; /* positions that are seen, or 0 for all */
} Heads;

/* Norms a head, turns it by the angles of its position (Su et al., 2021; pairs are i and i + width / 2), and puts it elsewhere. */
static void turn_head(const float *head, const float *norm, float eps, const float *cos, const float *sin, float *to, size_t width) {
    size_t half = width / 2;
    float scale = 1;
    if (norm) {
        float square = 0;
        for (size_t i = 0; i < width; i++) square += head[i] * head[i];
        scale = 1 / sqrtf(square / (float)width + eps);
    }
    for (size_t i = 0; i < half; i++) {
        float one = head[i] * scale, other = head[half + i] * scale;
        if (norm) one *= norm[i], other *= norm[half + i];
        to[i] = one * cos[i] - other * sin[i];
        to[half + i] = other * cos[i] + one * sin[i];
    }
}

/* Turns the queries of ``qkv`` [tokens][(heads + 2 shared) * width] where they are; keys and values go to their ``places``. */
void tenon_turn(const Heads *h, float *qkv, const float *cos, const float *sin, const int64_t *places, float *keys, float *values, size_t tokens) {
    size_t width = h->width, pitch = (h->heads + 2 * h->shared) * width, kept = h->shared * width;
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < tokens; t++) {
        float *token = qkv + t * pitch, *key = keys + (size_t)places[t] * kept;
        const float *c = cos + t * width / 2, *s = sin + t * width / 2;
        for (size_t i = 0; i < h->heads; i++)
            turn_head(token + i * width, h->query_norm, h->eps, c, s, token + i * width, width);
        for (size_t i = 0; i < h->shared; i++)
            turn_head(token + (h->heads + i) * width, h->key_norm, h->eps, c, s, key + i * width, width);
        memcpy(values + (size_t)places[t] * kept, token + (h->heads + h->shared) * width, kept * sizeof *values);
    }
}

typedef struct {
    float most, sum; /* of the scores so far: the largest, and of e to the power of what they are below it */
} Softmax;

/* One chunk of positions for ``count`` heads that share keys. */
INLINE void attend_chunk(int count, const Heads *h, const float *query, const float *keys, const float *values, size_t positions, size_t pitch,
                         Softmax *state, float *out, float scores[TOGETHER][CHUNK]) {
    size_t width = h->width, whole = width - width % LANES;
    for (size_t p = 0; p < positions; p++) {
        const float *key = keys + p * pitch;
        vec sums[TOGETHER] = {{0}};
        for (size_t i = 0; i < whole; i += LANES) {
            vec v = LOAD(key + i);
            for (int g = 0; g < count; g++) sums[g] += LOAD(query + g * width + i) * v;
        }
        for (int g = 0; g < count; g++) {
            float score = sum_of(sums[g]);
            for (size_t i = whole; i < width; i++) score += query[g * width + i] * key[i];
            scores[g][p] = score * h->scaling;
        }
    }
    for (int g = 0; g < count; g++) {
        float most = state[g].most;
        for (size_t p = 0; p < positions; p++) most = scores[g][p] > most ? scores[g][p] : most;
        /* What was summed up before was relative to another maximum. */
        float before = state[g].sum > 0 ? expf(state[g].most - most) : 0;
        vec sums = {0};
        size_t filled = (positions + LANES - 1) / LANES * LANES;
        for (size_t p = positions; p < filled; p++) scores[g][p] = -INFINITY;
        for (size_t p = 0; p < filled; p += LANES) {
            vec e = exp_of(LOAD(scores[g] + p) - most);
            STORE(scores[g] + p, e);
            sums += e;
        }
        state[g].sum = state[g].sum * before + sum_of(sums);
        state[g].most = most;
        for (size_t i = 0; i < width; i++) out[g * width + i] *= before;
    }
    for (int g = 0; g < count; g++) {
        size_t i = 0;
        for (; i + 4 * LANES <= width; i += 4 * LANES) {
            vec sums[4];
            for (int v = 0; v < 4; v++) sums[v] = LOAD(out + g * width + i + v * LANES);
            for (size_t p = 0; p < positions; p++)
                for (int v = 0; v < 4; v++) sums[v] += scores[g][p] * LOAD(values + p * pitch + i + v * LANES);
            for (int v = 0; v < 4; v++) STORE(out + g * width + i + v * LANES, sums[v]);
        }
        for (; i < width; i++)
            for (size_t p = 0; p < positions; p++) out[g * width + i] += scores[g][p] * values[p * pitch + i];
    }
}

INLINE void attend_heads(int count, const Heads *h, const float *query, const float *keys, const float *values, size_t begin, size_t end, float *out) {
    size_t pitch = h->shared * h->width;
    float scores[TOGETHER][CHUNK];
    Softmax state[TOGETHER];
    for (int g = 0; g < count; g++) state[g] = (Softmax){-INFINITY, 0};
    memset(out, 0, (size_t)count * h->width * sizeof *out);
    for (size_t p = begin; p < end; p += CHUNK) {
        size_t positions = end - p < CHUNK ? end - p : CHUNK;
        attend_chunk(count, h, query, keys + p * pitch, values + p * pitch, positions, pitch, state, out, scores);
    }
    for (int g = 0; g < count; g++)
        for (size_t i = 0; i < h->width; i++) out[g * h->width + i] /= state[g].sum;
}

/* Attention of the first ``tokens`` of ``qkv``, one of each row: out [tokens][heads * width]. A row's positions lie one after another; its
 * newest, at ``positions``, is at its ``places``. */
void tenon_attend(const Heads *h, const float *qkv, const int64_t *places, const int64_t *positions, const float *keys, const float *values,
                  float *out, size_t tokens) {
    size_t width = h->width, pitch = (h->heads + 2 * h->shared) * width, each = h->heads / h->shared;
    size_t bundles = (each + TOGETHER - 1) / TOGETHER, items = tokens * h->shared * bundles;
#pragma omp parallel for schedule(dynamic, 4)
    for (size_t item = 0; item < items; item++) {
        size_t t = item / (h->shared * bundles), head = item / bundles % h->shared, first = item % bundles * TOGETHER;
        size_t count = each - first < TOGETHER ? each - first : TOGETHER, query = head * each + first;
        size_t end = (size_t)places[t] + 1, length = (size_t)positions[t] + 1;
        size_t begin = end - (h->window && h->window < length ? h->window : length);
        const float *from = qkv + t * pitch + query * width, *k = keys + head * width, *v = values + head * width;
        float *to = out + t * h->heads * width + query * width;
        switch (count) {
        case 1: attend_heads(1, h, from, k, v, begin, end, to); break;
        case 2: attend_heads(2, h, from, k, v, begin, end, to); break;
        case 3: attend_heads(3, h, from, k, v, begin, end, to); break;
        default: attend_heads(4, h, from, k, v, begin, end, to);
        }
    }
}
