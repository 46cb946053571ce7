// Logarithms, and power by the logarithm in two numbers.
namespace microscopiq {
namespace MICROSCOPIQ_ISA {

constexpr uint32_t kRootHalfBits = 0x3F3504F3;  // of the square root of 1/2

// x = m * 2^k, m from the root of 1/2 to that of 2; x > 0.
struct Parts {
  I k;
  F m;
};

MICROSCOPIQ_LANES Parts SplitLog(F x) {
  const I small = x < 0x1p-126f;
  const U field = (U)Select(small, x * 8388608.0f, x);
  const I k = (I)(field - kRootHalfBits) >> 23;
  return {Select(small, k - 23, k), (F)(field - ((U)k << 23))};
}

// k * ln 2 + log(1 + f) + correction
MICROSCOPIQ_LANES F LogSum(I k, F f, F correction) {
  const F n = ToFloat(k);
  const F square = f * f;
  const F low = f * square * MICROSCOPIQ_POLYNOMIAL(kLog, f) + (n * kLn2Low + correction);
  return n * kLn2High + (f + (low - 0.5f * square));
}

// y where x is positive and finite, else what a logarithm of x is.
MICROSCOPIQ_LANES F OutsideLog(F x, F y) {
  y = Select(x == 0.0f, -Infinity(), y);
  y = Select(x == Infinity(), Infinity(), y);
  return NanLike(x, Select(x < 0.0f, Nan(), y));
}

MICROSCOPIQ_LANES F Log(F x) {
  const Parts parts = SplitLog(x);
  return OutsideLog(x, LogSum(parts.k, parts.m - 1.0f, F{}));
}

MICROSCOPIQ_LANES F Log1p(F x) {
  const F u = x + 1.0f;
  const F back = u - 1.0f;
  const F lost = (1.0f - (u - back)) + (x - back);
  const Parts parts = SplitLog(u);
  const F correction = lost * PowerBelow(parts.k) / parts.m;
  F y = WithSign(LogSum(parts.k, parts.m - 1.0f, correction), x);
  y = Select(x == -1.0f, -Infinity(), y);
  y = Select(x == Infinity(), Infinity(), y);
  return NanLike(x, Select(x < -1.0f, Nan(), y));
}

// The logarithm to base 2 of a positive number: 12 bits and the rest.
struct Log2Sum {
  F high;
  F low;
};

MICROSCOPIQ_LANES Log2Sum Log2Parts(F x) {
  const Parts parts = SplitLog(x);
  const F m = parts.m;
  const F f = m - 1.0f;
  // s = f / (m + 1), in two numbers.
  const F below = m + 1.0f;
  const F s = f / below;
  const F s_high = Upper(s);
  const F below_high = Upper(below);
  const F below_low = (m - (below - 1.0f)) + (below - below_high);
  const F s_low = ((f - s_high * below_high) - s_high * below_low) / below;
  // log2(m) = 2 / ln 2 * (s + s^3 / 3 + ...) = s * (3 + s^2 + ...) * 2 / (3 ln 2).
  const F square = s * s;
  const F exact = s_high * s_high;
  const F rest = square * square * MICROSCOPIQ_POLYNOMIAL(kLog2, square) + s_low * (s_high + s);
  const F sum_high = Upper(3.0f + (exact + rest));
  const F sum_low = rest - ((sum_high - 3.0f) - exact);
  const F product = s_high * sum_high;
  const F product_low = s_low * sum_high + sum_low * s;
  const F high = Upper(product + product_low);
  const F low = product_low - (high - product);
  // Times 2 / (3 ln 2), plus k.
  const F z = high * kLog2ScaleHigh;
  const F z_low = high * kLog2ScaleLow + low * kLog2Scale;
  const F n = ToFloat(parts.k);
  const F total = Upper(n + (z + z_low));
  return {total, z_low - ((total - n) - z)};
}

MICROSCOPIQ_LANES F Log2(F x) {
  const Log2Sum sum = Log2Parts(x);
  return OutsideLog(x, sum.high + sum.low);
}

MICROSCOPIQ_LANES F Log10(F x) {
  const Log2Sum sum = Log2Parts(x);
  const F low = sum.high * kLog102Low + sum.low * kLog102;
  return OutsideLog(x, sum.high * kLog102High + low);
}

// Towards 0.
MICROSCOPIQ_LANES F Whole(F x) {
  const F a = Fabs(x);
  const I small = a < 8388608.0f;
  return WithSign(Select(small, ToFloat(ToInt(Select(small, a, F{}))), a), x);
}

MICROSCOPIQ_LANES F Pow(F x, F y) {
  const F base = Fabs(x);
  const F exponent = Clamped(y, -0x1p33f, 0x1p33f);
  const Log2Sum log = Log2Parts(base);
  const F exponent_high = Upper(exponent);
  const F product = exponent_high * log.high;
  const F product_low = (exponent - exponent_high) * log.high + exponent * log.low;
  const F sum = product + product_low;
  const F inside = Clamped(sum, -151.0f, 129.0f);
  const F low = Select(inside == sum, (product - inside) + product_low, F{});
  const Rounded nearest = Round(inside);
  const F left = inside - nearest.n;
  const F r = left + low;
  F value = PowerOfTwoAnd(r, (left - Upper(r)) + low, nearest.k);
  const I negative = y < 0.0f;
  value = Select(base == 0.0f, Select(negative, Infinity(), F{}), value);
  value = Select(base == Infinity(), Select(negative, F{}, Infinity()), value);
  const F whole = Whole(y);
  const F half = whole * 0.5f;
  const I odd = (whole == y) & (Whole(half) != half);
  value = (F)((U)value | ((U)odd & (U)x & kSign));
  const I fraction = (x < 0.0f) & (whole != y) & (base != Infinity());
  value = NanLike(x, NanLike(y, Select(fraction, Nan(), value)));
  return Select((x == 1.0f) | (y == 0.0f), Set(1.0f), value);
}

}  // namespace MICROSCOPIQ_ISA
}  // namespace microscopiq
