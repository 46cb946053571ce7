// sin, cos and tan: 2/pi times the argument in integers, to as many bits as cancel, at most.
namespace microscopiq {
namespace MICROSCOPIQ_ISA {

// Up to a quarter of pi the argument is taken as it is.
constexpr float kSmallAngle = 0.78539816f;

// |x| = q * pi/2 + r + low.
struct Angle {
  U q;
  F r;
  F low;
};

// Those bits of 2/pi that matter for an exponent: three words from bit `index * 32 + shift` on.
struct Window {
  U word[3];
};
MICROSCOPIQ_LANES Window WindowOf(I index, U shift) {
  U word[4];
  for (int i = 0; i < 4; ++i) {
    word[i] = SetBits(kTwoOverPi[i]);
    for (int first = 1; first <= 4; ++first) {
      word[i] = index >= first ? SetBits(kTwoOverPi[first + i]) : word[i];
    }
  }
  Window window;
  for (int i = 0; i < 3; ++i) {
    window.word[i] = (word[i] << shift) | ((word[i + 1] >> 1) >> (31u - shift));
  }
  return window;
}

// Every second lane times a window: two bits before the binary point, 62 behind it.
MICROSCOPIQ_LANES Wide Product(Wide mantissa, Wide first, Wide second, Wide third) {
  return ((mantissa * first) << 32) + mantissa * second + ((mantissa * third) >> 32);
}

// For finite a from kSmallAngle on.
MICROSCOPIQ_LANES Angle Quadrant(F a) {
  const U field = (U)a;
  I exponent = (I)(field >> 23);
  exponent = Select(exponent < 126, I{} + 126, exponent);
  exponent = Select(exponent > 254, I{} + 254, exponent) - 120;
  const Window window = WindowOf(exponent >> 5, (U)exponent & 31u);
  const Wide mantissa = (Wide)((field & 0x7FFFFFu) | 0x800000u);
  constexpr uint64_t kEven = 0xFFFFFFFF;
  const Wide w0 = (Wide)window.word[0], w1 = (Wide)window.word[1], w2 = (Wide)window.word[2];
  const Wide even = Product(mantissa & kEven, w0 & kEven, w1 & kEven, w2 & kEven);
  const Wide odd = Product(mantissa >> 32, w0 >> 32, w1 >> 32, w2 >> 32);
  U high = (U)((even >> 32) | (odd & ~kEven));
  U low = (U)((even & kEven) | (odd << 32));
  const U q = (high + 0x20000000u) >> 30;
  high -= q << 30;
  const U negative = (U)((I)high < 0);
  // The magnitude: 0 - x is ~x + 1, which carries where the lower word is 0.
  high = (high ^ negative) - (negative & (U)(low == 0u));
  low = (low ^ negative) - negative;
  const F t = ToFloat((I)high);
  const F t_low = ToFloat((I)(high - (U)ToInt(t))) +
                  (ToFloat((I)(low >> 16)) * 0x1p-16f + ToFloat((I)(low & 0xFFFFu)) * 0x1p-32f);
  // Times pi/2 * 2^-30.
  const F t_high = Upper(t);
  const F first = t_high * kPiHalfHigh;
  const F rest = t_high * kPiHalfLow + ((t - t_high) + t_low) * kPiHalf;
  const F r = first + rest;
  const F r_low = rest - (r - first);
  const U sign = negative & kSign;
  return {q, (F)((U)(r * 0x1p-30f) ^ sign), (F)((U)(r_low * 0x1p-30f) ^ sign)};
}

MICROSCOPIQ_LANES Angle ReduceAngle(F a) {
  const Angle angle = Quadrant(a);
  const I small = a < kSmallAngle;
  return {angle.q & ~(U)small, Select(small, a, angle.r), Select(small, F{}, angle.low)};
}

// Two numbers, the first the larger one.
struct Sum {
  F high;
  F low;
};

MICROSCOPIQ_LANES Sum Sine(F r, F low) {
  const F square = r * r;
  const F curved = r * (square * MICROSCOPIQ_POLYNOMIAL(kSin, square));
  return {r, curved + (low - low * (0.5f * square))};
}

MICROSCOPIQ_LANES Sum Cosine(F r, F low) {
  const F square = r * r;
  const F half = 0.5f * square;
  const F near = 1.0f - half;
  const F lost = (1.0f - near) - half;
  return {near, lost + (square * square * MICROSCOPIQ_POLYNOMIAL(kCos, square) - r * low)};
}

// The sine of |x| + turn * pi/2, NaN for what isn't finite.
MICROSCOPIQ_LANES F Turned(F x, uint32_t turn) {
  const F a = Fabs(x);
  const Angle angle = ReduceAngle(a);
  const U q = angle.q + turn;
  const Sum sine = Sine(angle.r, angle.low);
  const Sum cosine = Cosine(angle.r, angle.low);
  const F y = Select((q & 1u) != 0u, cosine.high + cosine.low, sine.high + sine.low);
  return Select((I)a >= (int32_t)kInfinityBits, Nan(), (F)((U)y ^ ((q & 2u) << 30)));
}

MICROSCOPIQ_LANES F Sin(F x) {
  const F y = Turned(x, 0);
  return NanLike(y, (F)((U)y ^ ((U)x & kSign)));
}

MICROSCOPIQ_LANES F Cos(F x) { return Turned(x, 1); }

MICROSCOPIQ_LANES Sum Normal(Sum sum) {
  const F total = sum.high + sum.low;
  return {total, sum.low - (total - sum.high)};
}

MICROSCOPIQ_LANES F Tan(F x) {
  const F a = Fabs(x);
  const Angle angle = ReduceAngle(a);
  const Sum sine = Normal(Sine(angle.r, angle.low));
  const Sum cosine = Normal(Cosine(angle.r, angle.low));
  const I odd = (angle.q & 1u) != 0u;
  const F below = Select(odd, sine.high, cosine.high);
  const F below_low = Select(odd, sine.low, cosine.low);
  const F quotient = Select(odd, cosine.high, sine.high) / below;
  const F above_low = Select(odd, cosine.low, sine.low);
  F y = quotient + (above_low - quotient * below_low) / below;
  y = Select(angle.r == 0.0f, quotient, y);
  y = (F)((U)y ^ ((U)x & kSign) ^ (angle.q << 31));
  return Select((I)a >= (int32_t)kInfinityBits, Nan(), y);
}

}  // namespace MICROSCOPIQ_ISA
}  // namespace microscopiq
