// True values in double precision, and how far fp32 results are from them.
//
// Compiled with -ffast-math, so that loops over the library's functions become vectors (4 ulp of a
// double at most, 2^-27 of a float's); what that allows for NaN and infinity is tested by bits.
#include <cmath>
#include <cstdint>
#include <cstring>

extern "C" {

#define REFERENCE(name, expression)                                    \
  void reference_##name(const float* in, int64_t count, double* out) { \
    for (int64_t i = 0; i < count; ++i) {                              \
      const double x = in[i];                                          \
      out[i] = expression;                                             \
    }                                                                  \
  }
REFERENCE(exp, std::exp(x))
REFERENCE(exp2, std::exp2(x))
REFERENCE(expm1, std::expm1(x))
REFERENCE(log, std::log(x))
REFERENCE(log2, std::log2(x))
REFERENCE(log10, std::log10(x))
REFERENCE(log1p, std::log1p(x))
REFERENCE(sigmoid, 1 / (1 + std::exp(-x)))
REFERENCE(tanh, std::tanh(x))
REFERENCE(erf, std::erf(x))
REFERENCE(sin, std::sin(x))
REFERENCE(cos, std::cos(x))
REFERENCE(tan, std::tan(x))
REFERENCE(sqrt, std::sqrt(x))
REFERENCE(rsqrt, 1 / std::sqrt(x))

void reference_pow(const float* in, const float* exponent, int64_t count, double* out) {
  for (int64_t i = 0; i < count; ++i) {
    out[i] = std::pow(static_cast<double>(in[i]), static_cast<double>(exponent[i]));
  }
}

void every_float(uint32_t first, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = first + static_cast<uint32_t>(i);
    std::memcpy(out + i, &bits, sizeof(bits));
  }
}

// The largest error in units in the last place of the true value's binade, and where; NaN against
// a number counts 1e30. Infinity counts as 2^128.
double largest_error(const float* got, const double* truth, int64_t count, double* scratch,
                     int64_t* where, int64_t* misrounded) {
  for (int64_t i = 0; i < count; ++i) {
    uint64_t bits;
    std::memcpy(&bits, truth + i, sizeof(bits));
    uint32_t got_bits;
    std::memcpy(&got_bits, got + i, sizeof(got_bits));
    const int64_t field = static_cast<int64_t>(bits >> 52 & 0x7FF);
    int64_t exponent = field < 1023 - 126 ? 1023 - 126 : field;
    exponent = exponent > 1023 + 127 ? 1023 + 127 : exponent;
    const uint64_t factor_bits = static_cast<uint64_t>(2069 - exponent) << 52;
    double factor;
    std::memcpy(&factor, &factor_bits, sizeof(factor));
    double number = got[i], limit = 0x1p128, expected = truth[i];
    number = number > limit ? limit : number < -limit ? -limit : number;
    expected = expected > limit ? limit : expected < -limit ? -limit : expected;
    const bool truth_nan = (bits & 0x7FFFFFFFFFFFFFFF) > 0x7FF0000000000000;
    const bool got_nan = (got_bits & 0x7FFFFFFF) > 0x7F800000;
    const double distance = std::fabs(number - expected) * factor;
    scratch[i] = truth_nan | got_nan ? (truth_nan == got_nan ? 0.0 : 1e30) : distance;
  }
  double largest = 0;
  int64_t wrong = 0;
  for (int64_t i = 0; i < count; ++i) {
    largest = scratch[i] > largest ? scratch[i] : largest;
    wrong += scratch[i] > 0.5000001;
  }
  *misrounded += wrong;
  *where = 0;
  while (*where + 1 < count && scratch[*where] != largest) ++*where;
  return largest;
}
}
