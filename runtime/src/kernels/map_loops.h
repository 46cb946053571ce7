// Elementwise operations on words of fp32 and int32. No include guard: once per variant.
namespace microscopiq {
namespace MICROSCOPIQ_ISA {

// out[n] = function(a[n], b[n]) for operands and results of one type each.
template <typename In, typename Out, typename Function>
int64_t EachPair(const void* a, const void* b, int64_t count, void* out, Function function) {
  const In* left = static_cast<const In*>(a);
  const In* right = static_cast<const In*>(b);
  Out* result = static_cast<Out*>(out);
  for (int64_t n = 0; n < count; ++n) result[n] = function(left[n], right[n]);
  return count;
}

// The same of int32, unless `refuses` some pair: then the place of the first one, and no result.
template <typename Refuses, typename Function>
int64_t EachAllowed(const void* a, const void* b, int64_t count, void* out, Refuses refuses,
                    Function function) {
  const int32_t* left = static_cast<const int32_t*>(a);
  const int32_t* right = static_cast<const int32_t*>(b);
  bool refused = false;
  for (int64_t n = 0; n < count; ++n) refused |= refuses(left[n], right[n]);
  for (int64_t n = 0; refused && n < count; ++n) {
    if (refuses(left[n], right[n])) return n;
  }
  return EachPair<int32_t, int32_t>(a, b, count, out, function);
}

inline float Truth(bool holds) { return holds ? 1.0f : 0.0f; }

int64_t MapFloats(MapOperation operation, const void* a, const void* b, int64_t count, void* out) {
  const auto each = [=](auto function) {
    return EachPair<float, float>(a, b, count, out, function);
  };
  switch (operation) {
    case MapOperation::kAdd:
      return each([](float x, float y) { return x + y; });
    case MapOperation::kSubtract:
      return each([](float x, float y) { return x - y; });
    case MapOperation::kMultiply:
      return each([](float x, float y) { return x * y; });
    case MapOperation::kDivide:
      return each([](float x, float y) { return x / y; });
    case MapOperation::kLess:
      return each([](float x, float y) { return Truth(x < y); });
    case MapOperation::kLessEqual:
      return each([](float x, float y) { return Truth(x <= y); });
    case MapOperation::kEqual:
      return each([](float x, float y) { return Truth(x == y); });
    default:
      return each([](float x, float y) { return Truth(x != y); });
  }
}

inline int32_t Wrapped(int64_t value) {
  return static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint64_t>(value)));
}
inline int64_t ExactSum(int32_t x, int32_t y) { return int64_t{x} + y; }
inline int64_t ExactDifference(int32_t x, int32_t y) { return int64_t{x} - y; }
inline int64_t ExactProduct(int32_t x, int32_t y) { return int64_t{x} * y; }
inline bool HasNoQuotient(int32_t x, int32_t y) { return y == 0 || (x == INT32_MIN && y == -1); }
inline bool ShiftsTooFar(int32_t, int32_t y) { return (y & ~31) != 0; }
// Whether the quotient towards 0 lies above the one towards minus infinity.
inline bool IsAboveFloor(int32_t x, int32_t y) { return x % y != 0 && (x < 0) != (y < 0); }

int64_t CompareInts(MapOperation operation, const void* a, const void* b, int64_t count,
                    void* out) {
  const auto each = [=](auto function) {
    return EachPair<int32_t, float>(a, b, count, out, function);
  };
  switch (operation) {
    case MapOperation::kIntLess:
      return each([](int32_t x, int32_t y) { return Truth(x < y); });
    case MapOperation::kIntLessEqual:
      return each([](int32_t x, int32_t y) { return Truth(x <= y); });
    case MapOperation::kIntEqual:
      return each([](int32_t x, int32_t y) { return Truth(x == y); });
    default:
      return each([](int32_t x, int32_t y) { return Truth(x != y); });
  }
}

// Operations that every pair has a result of.
int64_t MapInts(MapOperation operation, const void* a, const void* b, int64_t count, void* out) {
  const auto each = [=](auto function) {
    return EachPair<int32_t, int32_t>(a, b, count, out, function);
  };
  switch (operation) {
    case MapOperation::kIntAdd:
      return each([](int32_t x, int32_t y) { return Wrapped(ExactSum(x, y)); });
    case MapOperation::kIntSubtract:
      return each([](int32_t x, int32_t y) { return Wrapped(ExactDifference(x, y)); });
    case MapOperation::kIntMultiply:
      return each([](int32_t x, int32_t y) { return Wrapped(ExactProduct(x, y)); });
    case MapOperation::kIntMin:
      return each([](int32_t x, int32_t y) { return x < y ? x : y; });
    case MapOperation::kIntMax:
      return each([](int32_t x, int32_t y) { return x > y ? x : y; });
    case MapOperation::kBitAnd:
      return each([](int32_t x, int32_t y) { return x & y; });
    case MapOperation::kBitOr:
      return each([](int32_t x, int32_t y) { return x | y; });
    default:
      return each([](int32_t x, int32_t y) { return x ^ y; });
  }
}

int64_t MapPartly(MapOperation operation, const void* a, const void* b, int64_t count, void* out) {
  const auto checked = [=](auto exact) {
    return EachAllowed(
        a, b, count, out, [=](int32_t x, int32_t y) { return exact(x, y) != Wrapped(exact(x, y)); },
        [=](int32_t x, int32_t y) { return Wrapped(exact(x, y)); });
  };
  const auto quotient = [=](auto function) {
    return EachAllowed(a, b, count, out, HasNoQuotient, function);
  };
  const auto shift = [=](auto function) {
    return EachAllowed(a, b, count, out, ShiftsTooFar, function);
  };
  switch (operation) {
    case MapOperation::kShiftLeft:
      return shift(
          [](int32_t x, int32_t y) { return static_cast<int32_t>(static_cast<uint32_t>(x) << y); });
    case MapOperation::kShiftRight:
      return shift([](int32_t x, int32_t y) { return x >> y; });
    case MapOperation::kFloorDivide:
      return quotient([](int32_t x, int32_t y) { return x / y - IsAboveFloor(x, y); });
    case MapOperation::kFloorModulo:
      return quotient([](int32_t x, int32_t y) { return x % y + (IsAboveFloor(x, y) ? y : 0); });
    case MapOperation::kTruncateDivide:
      return quotient([](int32_t x, int32_t y) { return x / y; });
    case MapOperation::kTruncateModulo:
      return quotient([](int32_t x, int32_t y) { return x % y; });
    case MapOperation::kCheckedAdd:
      return checked([](int32_t x, int32_t y) { return ExactSum(x, y); });
    case MapOperation::kCheckedSubtract:
      return checked([](int32_t x, int32_t y) { return ExactDifference(x, y); });
    default:
      return checked([](int32_t x, int32_t y) { return ExactProduct(x, y); });
  }
}

int64_t Choose(const void* a, const void* b, const void* c, int64_t count, void* out) {
  const float* where = static_cast<const float*>(a);
  const uint32_t* yes = static_cast<const uint32_t*>(b);
  const uint32_t* no = static_cast<const uint32_t*>(c);
  uint32_t* result = static_cast<uint32_t*>(out);
  for (int64_t n = 0; n < count; ++n) result[n] = where[n] != 0.0f ? yes[n] : no[n];
  return count;
}

// a * b / 2^(31 + c), rounded half up.
int64_t Dyadic(const void* a, const void* b, const void* c, int64_t count, void* out) {
  const int32_t* value = static_cast<const int32_t*>(a);
  const int32_t* factor = static_cast<const int32_t*>(b);
  const int32_t* shift = static_cast<const int32_t*>(c);
  int32_t* result = static_cast<int32_t*>(out);
  for (int64_t n = 0; n < count; ++n) {
    if (shift[n] < -30 || shift[n] > 31) return n;
  }
  for (int64_t n = 0; n < count; ++n) {
    const int64_t product = ExactProduct(value[n], factor[n]);
    result[n] = Wrapped((product + (int64_t{1} << (30 + shift[n]))) >> (31 + shift[n]));
  }
  return count;
}

// Indices below 0 count from the end; none may be outside of c to b - 1.
int64_t Index(const void* a, const void* b, const void* c, int64_t count, void* out) {
  const int32_t* index = static_cast<const int32_t*>(a);
  const int32_t* size = static_cast<const int32_t*>(b);
  const int32_t* least = static_cast<const int32_t*>(c);
  int32_t* result = static_cast<int32_t*>(out);
  for (int64_t n = 0; n < count; ++n) {
    if (index[n] < least[n] || index[n] >= size[n]) return n;
  }
  for (int64_t n = 0; n < count; ++n) {
    result[n] = index[n] < 0 ? Wrapped(ExactSum(index[n], size[n])) : index[n];
  }
  return count;
}

int64_t Map(MapOperation operation, const void* a, const void* b, const void* c, int64_t count,
            void* out) {
  switch (operation) {
    case MapOperation::kCopy:
      return EachPair<uint32_t, uint32_t>(a, a, count, out, [](uint32_t x, uint32_t) { return x; });
    case MapOperation::kSelect:
      return Choose(a, b, c, count, out);
    case MapOperation::kDyadic:
      return Dyadic(a, b, c, count, out);
    case MapOperation::kIndex:
      return Index(a, b, c, count, out);
    case MapOperation::kAdd:
    case MapOperation::kSubtract:
    case MapOperation::kMultiply:
    case MapOperation::kDivide:
    case MapOperation::kLess:
    case MapOperation::kLessEqual:
    case MapOperation::kEqual:
    case MapOperation::kNotEqual:
      return MapFloats(operation, a, b, count, out);
    case MapOperation::kIntLess:
    case MapOperation::kIntLessEqual:
    case MapOperation::kIntEqual:
    case MapOperation::kIntNotEqual:
      return CompareInts(operation, a, b, count, out);
    default:
      return kMapOperationRefused[static_cast<int>(operation)]
                 ? MapPartly(operation, a, b, count, out)
                 : MapInts(operation, a, b, count, out);
  }
}

}  // namespace MICROSCOPIQ_ISA
}  // namespace microscopiq
