// Batch norm over a batch, activation and 2x2 max-pool as one operation on a CPU: few passes over the bytes.
//
// Images are channels_last: pixels of `c` channels each. Arithmetic is fp32, 16 channels at a time; sums over pixels
// are fp32 over at most CHUNK pixels and fp64 over those. The blocks that the threads divide among themselves, and the
// order in which their sums are added, do not depend on the number of threads: neither do the results.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16, BLOCKS = 64, CHUNK = 128, SAMPLES = 16, GROUP = 4;
enum Act { IDENTITY, RELU, GELU };
enum Pool { NONE, AFTER, BEFORE };

typedef float V __attribute__((vector_size(64)));
typedef double D __attribute__((vector_size(128)));
typedef uint32_t U __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));
typedef uint16_t H __attribute__((vector_size(32)));
typedef int8_t B __attribute__((vector_size(16)));
typedef uint16_t bf16;
template <class T, T value> using Constant = std::integral_constant<T, value>;

template <class W, class T> inline W raw(const T* from) { W v; memcpy(&v, from, sizeof v); return v; }

inline V widened(H bits) {
#ifdef __AVX512F__
  return (V)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)bits), 16);
#else
  return (V)(__builtin_convertvector(bits, U) << 16);
#endif
}

// To the nearest bf16, ties to even; NaN stays NaN.
inline H narrowed(V v) {
#ifdef __AVX512BF16__
  return (H)_mm512_cvtneps_pbh((__m512)v);
#else
  U bits = (U)v, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return __builtin_convertvector(v == v ? rounded : U{} + 0x7fc0, H);
#endif
}

inline V load(const float* from) { return raw<V>(from); }
inline V load(const bf16* from) { return widened(raw<H>(from)); }
inline I load(const int8_t* from) { return __builtin_convertvector(raw<B>(from), I); }
inline void store(float* to, V v) { memcpy(to, &v, sizeof v); }
inline void store(bf16* to, V v) { H bits = narrowed(v); memcpy(to, &bits, sizeof bits); }
inline void store(int8_t* to, I v) { B bytes = __builtin_convertvector(v, B); memcpy(to, &bytes, sizeof bytes); }

// v after a round trip through T.
template <class T> inline V rounded(V v) { if constexpr (sizeof(T) == 4) return v; else return widened(narrowed(v)); }

// exp(x) for -87 <= x <= 0, within 2 units in the last place.
inline V exponential(V x) {
  V n = (x * 1.44269504f + 12582912.f) - 12582912.f, r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  V p = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r +
         1.6666665459e-1f) * r + 5.0000001201e-1f;
  return (V)((I)(p * r * r + r + 1.f) + (__builtin_convertvector(n, I) << 23));
}

// The normal distribution below z and its density there: Abramowitz and Stegun 7.1.26, within 1e-7.
inline void normal(V z, V& below, V& density) {
  V half = z * z * .5f, bounded = half > 87.f ? V{} + 87.f : half, size = (V)((U)z & 0x7fffffff);
  V e = exponential(-bounded), t = 1.f / (1.f + .3275911f * .70710678f * size);
  V tail = .5f * e * t * (.254829592f + t * (-.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  below = z < 0.f ? tail : 1.f - tail;
  density = .39894228f * e;
}

template <Act act> inline V activated(V z) {
  if constexpr (act == IDENTITY) return z;
  if constexpr (act == RELU) return z < 0.f ? V{} : z;
  V below, density;
  normal(z, below, density);
  return z * below;
}

template <Act act> inline V slope_times(V z, V gradient) {
  if constexpr (act == IDENTITY) return gradient;
  if constexpr (act == RELU) return z <= 0.f ? V{} : gradient;
  V below, density;
  normal(z, below, density);
  return gradient * (below + z * density);
}

struct Images {
  int64_t n, h, w, c;
  int64_t pixels() const { return n * h * w; }
  int64_t oh() const { return h / 2; }
  int64_t ow() const { return w / 2; }
};

inline void add_to(double* to, V v) {
  D sum = raw<D>(to) + __builtin_convertvector(v, D);
  memcpy(to, &sum, sizeof sum);
}

// Adds to sums[0..c) and sums[c..) what `term` makes of pixels [first, end): two vectors for (pixel, channel).
template <class Term> void add_up(const Images& im, int64_t first, int64_t end, double* sums, Term term) {
  int64_t c = im.c;
  for (int64_t start = first; start < end; start += CHUNK) {
    int64_t stop = start + CHUNK < end ? start + CHUNK : end;
    for (int64_t ch = 0; ch < c; ch += GROUP * LANES) {
      int tiles = int((c - ch) / LANES < GROUP ? (c - ch) / LANES : GROUP);
      auto go = [&](auto constant) {
        constexpr int count = decltype(constant)::value;
        V a[count] = {}, b[count] = {};
        for (int64_t pixel = start; pixel < stop; pixel++)
          for (int k = 0; k < count; k++) {
            V one, two;
            term(pixel, ch + k * LANES, one, two);
            a[k] += one;
            b[k] += two;
          }
        for (int k = 0; k < count; k++) {
          double *to = sums + ch + k * LANES;
          add_to(to, a[k]);
          add_to(to + c, b[k]);
        }
      };
      if (tiles == 4) go(Constant<int, 4>());
      else if (tiles == 3) go(Constant<int, 3>());
      else if (tiles == 2) go(Constant<int, 2>());
      else go(Constant<int, 1>());
    }
  }
}

// The largest of four values of each channel, the first of equal ones, or one that is not a number; and its place 0-3.
template <class F> inline V largest(F value, I& place) {
  V best = value(0);
  place = I{};
  for (int k = 1; k < 4; k++) {
    V v = value(k);
    I wins = (v > best) | (v != v);
    best = wins ? v : best;
    place = wins ? I{} + k : place;
  }
  return best;
}

// Block `block` of `count` things.
inline int64_t first_of(int64_t block, int64_t count) { return block * count / BLOCKS; }

struct Norm {
  const float *weight, *bias;
  float *mean, *inverse, *running_mean, *running_var;
  double momentum, eps;
};

// The sums of all blocks, in their order, into the first.
void gather(double* sums, int64_t count) {
  for (int block = 1; block < BLOCKS; block++)
    for (int64_t k = 0; k < count; k++) sums[k] += sums[block * count + k];
}

// scratch: (2 * BLOCKS + 3) * c doubles.
template <class T, Act act, Pool pool>
void forward(const T* x, T* y, T* kept, int8_t* places, Images im, Norm norm, double* scratch) {
  const int64_t c = im.c, w = im.w, ow = im.ow(), rows_out = im.n * im.oh();
  const Images normed = pool == BEFORE ? Images{im.n, im.oh(), ow, c} : im;
  const int64_t count = normed.pixels();
  const T* input = pool == BEFORE ? kept : x;
  double* sums = scratch;
  float *near = (float*)(scratch + 2 * BLOCKS * c), *scale = near + c, *shift = scale + c;
  memset(sums, 0, 2 * BLOCKS * c * sizeof(double));
  memset(near, 0, 3 * c * sizeof(float));
  // Sums of differences from a value near the mean lose no digits.
  for (int k = 0; k < SAMPLES; k++)
    for (int64_t ch = 0; ch < c; ch += LANES) {
      store(near + ch, load(near + ch) + load(x + k * (im.pixels() - 1) / (SAMPLES - 1) * c + ch) / SAMPLES);
    }
  for (int64_t ch = 0; ch < c; ch += LANES) {
    V v = load(near + ch);
    store(near + ch, v - v == v - v ? v : V{});
  }
  #pragma omp parallel
  {
    #pragma omp for schedule(static)
    for (int block = 0; block < BLOCKS; block++) {
      int64_t first, end;
      if constexpr (pool == BEFORE) {
        int64_t row = first_of(block, rows_out), last = first_of(block + 1, rows_out);
        first = row * ow, end = last * ow;
        for (; row < last; row++) {
          const T* top = x + (row / im.oh() * im.h + row % im.oh() * 2) * w * c;
          for (int64_t ox = 0; ox < ow; ox++)
            for (int64_t ch = 0; ch < c; ch += LANES) {
              I place;
              V best = largest([&](int k) { return load(top + ((k >> 1) * w + 2 * ox + (k & 1)) * c + ch); }, place);
              store(kept + (row * ow + ox) * c + ch, best);
              store(places + (row * ow + ox) * c + ch, place);
            }
        }
      } else {
        first = first_of(block, count), end = first_of(block + 1, count);
      }
      add_up(normed, first, end, sums + block * 2 * c, [&](int64_t pixel, int64_t ch, V& one, V& two) {
        one = load(input + pixel * c + ch) - load(near + ch);
        two = one * one;
      });
    }
    #pragma omp single
    {
      gather(sums, 2 * c);
      for (int64_t ch = 0; ch < c; ch++) {
        double off = sums[ch] / count, var = sums[c + ch] / count - off * off, mean = near[ch] + off;
        var = var < 0 ? 0 : var;
        norm.mean[ch] = float(mean);
        norm.inverse[ch] = float(1 / std::sqrt(var + norm.eps));
        scale[ch] = norm.inverse[ch] * norm.weight[ch];
        shift[ch] = norm.bias[ch] - norm.mean[ch] * scale[ch];
        double unbiased = var * count / (count - 1);
        norm.running_mean[ch] = float(norm.momentum * norm.mean[ch] + (1 - norm.momentum) * norm.running_mean[ch]);
        norm.running_var[ch] = float(norm.momentum * unbiased + (1 - norm.momentum) * norm.running_var[ch]);
      }
    }
    #pragma omp for schedule(static)
    for (int block = 0; block < BLOCKS; block++) {
      if constexpr (pool == AFTER) {
        for (int64_t row = first_of(block, rows_out); row < first_of(block + 1, rows_out); row++) {
          const T* top = x + (row / im.oh() * im.h + row % im.oh() * 2) * w * c;
          for (int64_t ox = 0; ox < ow; ox++)
            for (int64_t ch = 0; ch < c; ch += LANES) {
              int64_t at = (row * ow + ox) * c + ch;
              V a = load(scale + ch), b = load(shift + ch), inputs[4];
              I place;
              V best = largest([&](int k) {
                inputs[k] = load(top + ((k >> 1) * w + 2 * ox + (k & 1)) * c + ch);
                return rounded<T>(activated<act>(rounded<T>(inputs[k] * a + b)));
              }, place);
              V source = inputs[0];
              for (int k = 1; k < 4; k++) source = place == k ? inputs[k] : source;
              store(y + at, best);
              store(kept + at, source);
              store(places + at, place);
            }
        }
      } else {
        for (int64_t pixel = first_of(block, count); pixel < first_of(block + 1, count); pixel++)
          for (int64_t ch = 0; ch < c; ch += LANES) {
            V z = rounded<T>(load(input + pixel * c + ch) * load(scale + ch) + load(shift + ch));
            store(y + pixel * c + ch, activated<act>(z));
          }
      }
    }
  }
}

// scratch: (2 * BLOCKS + 3) * c doubles.
template <class T, Act act, Pool pool>
void backward(const T* g, const T* x, const T* kept, const int8_t* places, T* dx, Images im, Norm norm, float* dweight,
              float* dbias, double* scratch) {
  const int64_t c = im.c, w = im.w, oh = im.oh(), ow = im.ow(), h = im.h;
  const Images out = pool == NONE ? im : Images{im.n, oh, ow, c};
  const int64_t through = out.pixels(), count = pool == AFTER ? im.pixels() : through;
  const T* input = pool == NONE ? x : kept;
  double* sums = scratch;
  float *scale = (float*)(scratch + 2 * BLOCKS * c), *shift = scale + c, *mean = shift + c,
        *slope = mean + c, *offset = slope + c;
  memset(sums, 0, 2 * BLOCKS * c * sizeof(double));
  memset(scale, 0, 5 * c * sizeof(float));
  for (int64_t ch = 0; ch < c; ch++) {
    scale[ch] = norm.inverse[ch] * norm.weight[ch];
    shift[ch] = norm.bias[ch] - norm.mean[ch] * scale[ch];
    mean[ch] = norm.mean[ch];
  }
  auto arriving = [&](int64_t at, int64_t ch, V source) {
    V z = rounded<T>(source * load(scale + ch) + load(shift + ch));
    return slope_times<act>(z, load(g + at));
  };
  auto leaving = [&](V source, V gradient, int64_t ch) {
    return load(scale + ch) * gradient + (load(slope + ch) * (source - load(mean + ch)) + load(offset + ch));
  };
  #pragma omp parallel
  {
    #pragma omp for schedule(static)
    for (int block = 0; block < BLOCKS; block++)
      add_up(out, first_of(block, through), first_of(block + 1, through), sums + block * 2 * c,
             [&](int64_t pixel, int64_t ch, V& one, V& two) {
        V source = load(input + pixel * c + ch);
        one = arriving(pixel * c + ch, ch, source);
        two = one * (source - load(mean + ch));
      });
    #pragma omp single
    {
      gather(sums, 2 * c);
      for (int64_t ch = 0; ch < c; ch++) {
        double inverse = norm.inverse[ch];
        dbias[ch] = float(sums[ch]);
        dweight[ch] = float(sums[c + ch] * inverse);
        slope[ch] = float(-norm.weight[ch] * inverse * inverse * inverse * sums[c + ch] / count);
        offset[ch] = float(-norm.weight[ch] * inverse * sums[ch] / count);
      }
    }
    if constexpr (pool == NONE) {
      #pragma omp for schedule(static)
      for (int block = 0; block < BLOCKS; block++)
        for (int64_t pixel = first_of(block, count); pixel < first_of(block + 1, count); pixel++)
          for (int64_t ch = 0; ch < c; ch += LANES) {
            V source = load(x + pixel * c + ch);
            store(dx + pixel * c + ch, leaving(source, arriving(pixel * c + ch, ch, source), ch));
          }
    } else {
      // Pairs of rows and columns; the last of an odd number of them lies in no window.
      const int64_t pairs = (h + 1) / 2;
      #pragma omp for schedule(static)
      for (int block = 0; block < BLOCKS; block++)
        for (int64_t pair = first_of(block, im.n * pairs); pair < first_of(block + 1, im.n * pairs); pair++) {
          const int64_t image = pair / pairs, py = pair % pairs;
          for (int64_t px = 0; px < (w + 1) / 2; px++) {
            const bool windowed = py < oh && px < ow;
            const int64_t pooled = ((image * oh + py) * ow + px) * c, corner = (image * h + 2 * py) * w + 2 * px;
            for (int64_t ch = 0; ch < c; ch += LANES) {
              V gradient{};
              I place = I{} - 1;
              if (windowed) {
                V source = load(kept + pooled + ch);
                gradient = arriving(pooled + ch, ch, source);
                if constexpr (pool == BEFORE) gradient = leaving(source, gradient, ch);
                place = load(places + pooled + ch);
              }
              for (int k = 0; k < 4; k++) {
                if (2 * py + (k >> 1) >= h || 2 * px + (k & 1) >= w) continue;
                int64_t at = (corner + (k >> 1) * w + (k & 1)) * c + ch;
                V here = place == k ? gradient : V{};
                if constexpr (pool == AFTER) here = leaving(load(x + at), here, ch);
                store(dx + at, here);
              }
            }
          }
        }
    }
  }
}

template <class T, Act act, bool back> void element_wise(const T* x, const T* g, T* y, int64_t count) {
  const int64_t whole = count / LANES;
  auto tile = [](const T* from, const T* gradient, T* to) {
    V z = load(from);
    store(to, back ? slope_times<act>(z, load(gradient)) : activated<act>(z));
  };
  #pragma omp parallel for schedule(static)
  for (int block = 0; block < BLOCKS; block++)
    for (int64_t at = first_of(block, whole) * LANES; at < first_of(block + 1, whole) * LANES; at += LANES)
      tile(x + at, g + at, y + at);
  if (const int64_t rest = count % LANES, at = count - rest; rest) {
    T held[3][LANES] = {};
    memcpy(held[0], x + at, rest * sizeof(T));
    if (back) memcpy(held[1], g + at, rest * sizeof(T));
    tile(held[0], held[1], held[2]);
    memcpy(y + at, held[2], rest * sizeof(T));
  }
}

// f(type, activation, pooling) for what the numbers name.
template <class F> void chosen(int is_bf16, int act, int pool, F f) {
  auto pooled = [&](auto t, auto a) {
    if (pool == AFTER) f.template operator()<decltype(t), decltype(a)::value, AFTER>();
    else if (pool == BEFORE) f.template operator()<decltype(t), decltype(a)::value, BEFORE>();
    else f.template operator()<decltype(t), decltype(a)::value, NONE>();
  };
  auto typed = [&](auto t) {
    if (act == GELU) pooled(t, Constant<Act, GELU>());
    else if (act == RELU) pooled(t, Constant<Act, RELU>());
    else pooled(t, Constant<Act, IDENTITY>());
  };
  if (is_bf16) typed(bf16()); else typed(float());
}

}  // namespace

extern "C" {

int64_t scratch_doubles(int64_t channels) { return (2 * BLOCKS + 3) * channels; }

void norm_act_forward(const void* x, void* y, void* kept, int8_t* places, int is_bf16, int act, int pool, int64_t n,
                      int64_t h, int64_t w, int64_t c, const float* weight, const float* bias, float* mean,
                      float* inverse, float* running_mean, float* running_var, double momentum, double eps,
                      double* scratch) {
  chosen(is_bf16, act, pool, [&]<class T, Act a, Pool p>() {
    forward<T, a, p>((const T*)x, (T*)y, (T*)kept, places, Images{n, h, w, c},
                     Norm{weight, bias, mean, inverse, running_mean, running_var, momentum, eps}, scratch);
  });
}

void norm_act_backward(const void* g, const void* x, const void* kept, const int8_t* places, void* dx, int is_bf16,
                       int act, int pool, int64_t n, int64_t h, int64_t w, int64_t c, const float* weight,
                       const float* bias, float* mean, float* inverse, float* dweight, float* dbias, double* scratch) {
  chosen(is_bf16, act, pool, [&]<class T, Act a, Pool p>() {
    backward<T, a, p>((const T*)g, (const T*)x, (const T*)kept, places, (T*)dx, Images{n, h, w, c},
                      Norm{weight, bias, mean, inverse, nullptr, nullptr, 0, 0}, dweight, dbias, scratch);
  });
}

void act_forward(const void* x, void* y, int is_bf16, int act, int64_t count) {
  chosen(is_bf16, act, NONE, [&]<class T, Act a, Pool p>() {
    element_wise<T, a, false>((const T*)x, nullptr, (T*)y, count);
  });
}

void act_backward(const void* x, const void* g, void* y, int is_bf16, int act, int64_t count) {
  chosen(is_bf16, act, NONE, [&]<class T, Act a, Pool p>() {
    element_wise<T, a, true>((const T*)x, (const T*)g, (T*)y, count);
  });
}

}
