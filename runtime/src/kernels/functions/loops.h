// A loop over arrays for each function of the table.
namespace microscopiq {
namespace MICROSCOPIQ_ISA {

MICROSCOPIQ_LANES F LoadLanes(const float* in, int64_t count) {
  F x = {};
  if (count >= kLanes) {
    __builtin_memcpy(&x, in, sizeof(x));
  } else {
    for (int64_t i = 0; i < count; ++i) x[i] = in[i];
  }
  return x;
}

MICROSCOPIQ_LANES void StoreLanes(F y, int64_t count, float* out) {
  if (count >= kLanes) {
    __builtin_memcpy(out, &y, sizeof(y));
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = y[i];
  }
}

#define MICROSCOPIQ_UNARY(Name)                                                 \
  void Name##Loop(const void* x, const void*, int64_t count, void* out) {       \
    for (int64_t n = 0; n < count; n += kLanes) {                               \
      const F y = Name(LoadLanes(static_cast<const float*>(x) + n, count - n)); \
      StoreLanes(y, count - n, static_cast<float*>(out) + n);                   \
    }                                                                           \
  }
#define MICROSCOPIQ_BINARY(Name)                                              \
  void Name##Loop(const void* x, const void* y, int64_t count, void* out) {   \
    for (int64_t n = 0; n < count; n += kLanes) {                             \
      const F left = LoadLanes(static_cast<const float*>(x) + n, count - n);  \
      const F right = LoadLanes(static_cast<const float*>(y) + n, count - n); \
      StoreLanes(Name(left, right), count - n, static_cast<float*>(out) + n); \
    }                                                                         \
  }

MICROSCOPIQ_UNARY(Exp)
MICROSCOPIQ_UNARY(Exp2)
MICROSCOPIQ_UNARY(Expm1)
MICROSCOPIQ_UNARY(Log)
MICROSCOPIQ_UNARY(Log2)
MICROSCOPIQ_UNARY(Log10)
MICROSCOPIQ_UNARY(Log1p)
MICROSCOPIQ_BINARY(Pow)
MICROSCOPIQ_UNARY(Sigmoid)
MICROSCOPIQ_UNARY(Tanh)
MICROSCOPIQ_UNARY(Erf)
MICROSCOPIQ_UNARY(Sin)
MICROSCOPIQ_UNARY(Cos)
MICROSCOPIQ_UNARY(Tan)
MICROSCOPIQ_UNARY(Fabs)

#undef MICROSCOPIQ_UNARY
#undef MICROSCOPIQ_BINARY

// One expression of the element `a`, and of `b` beside it where there are two arrays.
#define MICROSCOPIQ_ELEMENT(Name, In, Out, expression)                      \
  void Name##Loop(const void* x, const void* y, int64_t count, void* out) { \
    for (int64_t n = 0; n < count; ++n) {                                   \
      const In a = static_cast<const In*>(x)[n];                            \
      static_cast<Out*>(out)[n] = expression;                               \
    }                                                                       \
    static_cast<void>(y);                                                   \
  }
#define MICROSCOPIQ_B static_cast<const float*>(y)[n]

inline float OneNan(float y) {
  uint32_t bits;
  __builtin_memcpy(&bits, &y, sizeof(bits));
  bits = y == y ? bits : kNanBits;
  __builtin_memcpy(&y, &bits, sizeof(bits));
  return y;
}

// Towards 0 into [-limit - 1, limit], where `limit` is the largest float below its power of two.
inline int32_t Saturated(float a, float low, float limit) {
  const float number = a == a ? a : 0.0f;
  const float raised = number < low ? low : number;
  return static_cast<int32_t>(raised > limit ? limit : raised);
}

MICROSCOPIQ_ELEMENT(Sqrt, float, float, OneNan(__builtin_sqrtf(a)))
MICROSCOPIQ_ELEMENT(Rsqrt, float, float, OneNan(1.0f / __builtin_sqrtf(a)))
MICROSCOPIQ_ELEMENT(Floor, float, float, OneNan(__builtin_floorf(a)))
MICROSCOPIQ_ELEMENT(Ceil, float, float, OneNan(__builtin_ceilf(a)))
MICROSCOPIQ_ELEMENT(Trunc, float, float, OneNan(__builtin_truncf(a)))
MICROSCOPIQ_ELEMENT(Nearbyint, float, float, OneNan(__builtin_rintf(a)))
MICROSCOPIQ_ELEMENT(Min, float, float, a < MICROSCOPIQ_B ? a : MICROSCOPIQ_B)
MICROSCOPIQ_ELEMENT(Max, float, float, a > MICROSCOPIQ_B ? a : MICROSCOPIQ_B)
MICROSCOPIQ_ELEMENT(Float32ToInt32, float, int32_t,
                    a >= 0x1p31f ? INT32_MAX : Saturated(a, -0x1p31f, 2147483520.0f))
MICROSCOPIQ_ELEMENT(Float32ToInt8, float, int8_t,
                    static_cast<int8_t>(Saturated(a, -128.0f, 127.0f)))
MICROSCOPIQ_ELEMENT(Float32ToBool, float, uint8_t, a != 0.0f)
MICROSCOPIQ_ELEMENT(Int32ToFloat32, int32_t, float, static_cast<float>(a))
MICROSCOPIQ_ELEMENT(Int8ToFloat32, int8_t, float, static_cast<float>(a))
MICROSCOPIQ_ELEMENT(BoolToFloat32, uint8_t, float, a ? 1.0f : 0.0f)
MICROSCOPIQ_ELEMENT(Int32ToInt8, int32_t, int8_t, static_cast<int8_t>(a))

#undef MICROSCOPIQ_ELEMENT
#undef MICROSCOPIQ_B

#define MICROSCOPIQ_ENTRY(Symbol, name, inputs, input, output) Symbol##Loop,
const FunctionLoop kFunctionLoops[] = {MICROSCOPIQ_FUNCTIONS(MICROSCOPIQ_ENTRY)};
#undef MICROSCOPIQ_ENTRY

}  // namespace MICROSCOPIQ_ISA
}  // namespace microscopiq
