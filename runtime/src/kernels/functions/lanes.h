// What the functions share: vectors of float and of the integers of their bits.
//
// The length is that of the variant's registers. Every step is one IEEE operation per lane, or one
// on 32-bit integers; integers that may wrap are unsigned. No include guard: once per variant.
namespace microscopiq {
namespace MICROSCOPIQ_ISA {

#define MICROSCOPIQ_LANES inline __attribute__((always_inline))

typedef float F __attribute__((vector_size(sizeof(Vec))));
typedef int32_t I __attribute__((vector_size(sizeof(Vec))));
typedef uint32_t U __attribute__((vector_size(sizeof(Vec))));
typedef uint64_t Wide __attribute__((vector_size(sizeof(Vec))));

// 1.5 * 2^23: adding it leaves the integer nearest to a small number in the lowest bits.
constexpr float kRounding = 12582912.0f;
constexpr uint32_t kRoundingBits = 0x4B400000;
constexpr uint32_t kSign = 0x80000000;
constexpr uint32_t kInfinityBits = 0x7F800000;
constexpr uint32_t kNanBits = 0x7FC00000;

MICROSCOPIQ_LANES F Set(float value) { return value - F{}; }
MICROSCOPIQ_LANES U SetBits(uint32_t value) { return value | U{}; }
MICROSCOPIQ_LANES F Infinity() { return (F)SetBits(kInfinityBits); }
MICROSCOPIQ_LANES F Nan() { return (F)SetBits(kNanBits); }

MICROSCOPIQ_LANES F Select(I where, F yes, F no) { return where ? yes : no; }
MICROSCOPIQ_LANES I Select(I where, I yes, I no) { return where ? yes : no; }

MICROSCOPIQ_LANES F Fabs(F x) { return (F)((U)x & ~kSign); }
MICROSCOPIQ_LANES F WithSign(F x, F sign_of) { return (F)(((U)x & ~kSign) | ((U)sign_of & kSign)); }
MICROSCOPIQ_LANES I IsNan(F x) { return (I)((U)x & ~kSign) > (int32_t)kInfinityBits; }
// y, but the one NaN where x is one.
MICROSCOPIQ_LANES F NanLike(F x, F y) { return Select(IsNan(x), Nan(), y); }

MICROSCOPIQ_LANES F Clamped(F x, float low, float high) {
  const F raised = Select(x < low, Set(low), x);
  return Select(raised > high, Set(high), raised);
}

MICROSCOPIQ_LANES F ToFloat(I x) { return __builtin_convertvector(x, F); }
MICROSCOPIQ_LANES I ToInt(F x) { return __builtin_convertvector(x, I); }

// 2^k for k of -126 to 127.
MICROSCOPIQ_LANES F PowerOfTwo(I k) { return (F)(((U)k + 127u) << 23); }

// y * 2^k: in two steps, of which only the second can round.
MICROSCOPIQ_LANES F Scaled(F y, I k) {
  const I half = k >> 1;
  return y * PowerOfTwo(half) * PowerOfTwo((I)((U)k - (U)half));
}

// 2^-k, at least 2^-126.
MICROSCOPIQ_LANES F PowerBelow(I k) { return PowerOfTwo(-Select(k < 126, k, I{} + 126)); }

MICROSCOPIQ_LANES F Polynomial(const float* coefficients, int terms, F x) {
  F total = Set(coefficients[terms - 1]);
  for (int i = terms - 2; i >= 0; --i) total = total * x + coefficients[i];
  return total;
}
#define MICROSCOPIQ_POLYNOMIAL(table, x) \
  Polynomial(table, static_cast<int>(sizeof(table) / sizeof(float)), x)

// The first 12 bits: products of two such are exact.
MICROSCOPIQ_LANES F Upper(F x) { return (F)((U)x & 0xFFFFF000u); }

// The integer nearest to a small number, and what is left of it.
struct Rounded {
  I k;
  F n;
};
MICROSCOPIQ_LANES Rounded Round(F x) {
  const F shifted = x + kRounding;
  return {(I)((U)shifted - kRoundingBits), shifted - kRounding};
}

}  // namespace MICROSCOPIQ_ISA
}  // namespace microscopiq
