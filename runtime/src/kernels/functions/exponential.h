// exp and what is made of it.
namespace microscopiq {
namespace MICROSCOPIQ_ISA {

// x = k * ln 2 + r, exp(r) = 1 + r + p.
struct Reduced {
  I k;
  F r;
  F p;
};

MICROSCOPIQ_LANES Reduced ReduceExp(F x) {
  const Rounded nearest = Round(x * kLog2E);
  const F high = x - nearest.n * kLn2High;
  const F low = nearest.n * kLn2Low;
  const F r = high - low;
  const F lost = (high - r) - low;
  return {nearest.k, r, r * r * MICROSCOPIQ_POLYNOMIAL(kExp, r) + lost};
}

// whole + r + p, where only the last sum rounds for good; |whole| >= |r|, or 0.
MICROSCOPIQ_LANES F Added(F whole, F r, F p) {
  const F total = whole + r;
  return total + ((r - (total - whole)) + p);
}

// exp of numbers in -104 to 89.
MICROSCOPIQ_LANES F Exponential(F x) {
  const Reduced reduced = ReduceExp(x);
  return Scaled(Added(Set(1.0f), reduced.r, reduced.p), reduced.k);
}

MICROSCOPIQ_LANES F Exp(F x) { return NanLike(x, Exponential(Clamped(x, -104.0f, 89.0f))); }

// 2^(r + k) for r of -1/2 to 1/2, `rest` of it behind its first 12 bits.
MICROSCOPIQ_LANES F PowerOfTwoAnd(F r, F rest, I k) {
  const F high = Upper(r);
  const F first = high * kLn2Short;
  const F second = high * kLn2Rest + rest * kLn2;
  const F curved = r * (r * MICROSCOPIQ_POLYNOMIAL(kExp2, r));
  return Scaled(Added(Set(1.0f), first, second + curved), k);
}

MICROSCOPIQ_LANES F Exp2(F x) {
  const F inside = Clamped(x, -151.0f, 129.0f);
  const Rounded nearest = Round(inside);
  const F r = inside - nearest.n;
  return NanLike(x, PowerOfTwoAnd(r, r - Upper(r), nearest.k));
}

MICROSCOPIQ_LANES F Expm1(F x) {
  const Reduced reduced = ReduceExp(Clamped(x, -20.0f, 89.0f));
  const F sum = Added(1.0f - PowerBelow(reduced.k), reduced.r, reduced.p);
  return NanLike(x, WithSign(Scaled(sum, reduced.k), x));
}

MICROSCOPIQ_LANES F Sigmoid(F x) {
  // 1 / (1 + exp(-x)) = 2^-k / (2^-k + 1 + r + p)
  const Reduced reduced = ReduceExp(Clamped(-x, -18.0f, 105.0f));
  const F unit = PowerBelow(reduced.k);
  const F whole = 1.0f + unit;
  const F total = whole + reduced.r;
  const F below = total + reduced.p;
  const F lost =
      (unit - (whole - 1.0f)) + (reduced.r - (total - whole)) + (reduced.p - (below - total));
  const F quotient = 1.0f / below;
  return NanLike(x, Scaled(quotient - quotient * (quotient * lost), -reduced.k));
}

MICROSCOPIQ_LANES F Tanh(F x) {
  const F a = Fabs(x);
  const F square = a * a;
  const F near = a + a * (square * MICROSCOPIQ_POLYNOMIAL(kTanh, square));
  const F twice = Clamped(a, 0.0f, 10.0f) * 2.0f;
  const F far = 1.0f - 2.0f / (Exponential(twice) + 1.0f);
  return NanLike(x, WithSign(Select(a < 1.0f, near, far), x));
}

MICROSCOPIQ_LANES F Erf(F x) {
  const F a = Fabs(x);
  const F near = a + a * MICROSCOPIQ_POLYNOMIAL(kErf, a * a);
  const F power = MICROSCOPIQ_POLYNOMIAL(kErfTail, Clamped(a, 0.0f, 4.0f));
  const F far = 1.0f - Exponential(-power);
  return NanLike(x, WithSign(Select(a < 1.0f, near, far), x));
}

}  // namespace MICROSCOPIQ_ISA
}  // namespace microscopiq
