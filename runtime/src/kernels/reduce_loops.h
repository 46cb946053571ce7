// Reductions of rows of words. No include guard: once per variant.
namespace microscopiq {
namespace MICROSCOPIQ_ISA {

constexpr float kLargest = 3.40282346638528859812e+38f;

// Puts the elements of a row to the partial results that are there, or to new ones.
template <typename Number, typename Put>
void PutToPartials(const void* row, int64_t count, bool fresh, Number start, Put put,
                   Number* partial) {
  const Number* in = static_cast<const Number*>(row);
  if (fresh) {
    for (int lane = 0; lane < kPartials; ++lane) partial[lane] = start;
  }
  int64_t n = 0;
  for (; n + kPartials <= count; n += kPartials) {
    for (int lane = 0; lane < kPartials; ++lane) partial[lane] = put(partial[lane], in[n + lane]);
  }
  for (int lane = 0; n + lane < count; ++lane) partial[lane] = put(partial[lane], in[n + lane]);
}

template <typename Number, typename Put>
void ReduceRow(const void* row, int64_t count, void* out, Number start, Put put) {
  Number partial[kPartials];
  PutToPartials(row, count, true, start, put, partial);
  Number whole = start;
  for (const Number one : partial) whole = put(whole, one);
  __builtin_memcpy(out, &whole, sizeof(whole));
}

// The place of the element that nothing behind it beats or is unordered with, as TVM's argmax and
// argmin find it: from -1 and `start` on, one element after the other.
template <typename Beats>
void PlaceInRow(const void* row, int64_t count, void* out, float start, Beats beats) {
  const float* in = static_cast<const float*>(row);
  int32_t place = -1;
  for (int64_t n = 0; n < count; ++n) {
    if (!(beats(start, in[n]) || start == in[n])) place = static_cast<int32_t>(n);
    start = beats(start, in[n]) ? start : in[n];
  }
  __builtin_memcpy(out, &place, sizeof(place));
}

// Calls `go(start, put)` with where a reduction starts and how it goes on; none for places.
template <typename Go>
void WithReduction(Reduction operation, Go go) {
  const auto add = [](auto whole, auto x) { return whole + x; };
  const auto largest = [](auto whole, auto x) { return whole > x ? whole : x; };
  const auto smallest = [](auto whole, auto x) { return whole < x ? whole : x; };
  switch (operation) {
    case Reduction::kSum:
      return go(0.0f, add);
    case Reduction::kMaximum:
      return go(-kLargest, largest);
    case Reduction::kMinimum:
      return go(kLargest, smallest);
    case Reduction::kIntSum:
      return go(uint32_t{0}, add);
    case Reduction::kIntMaximum:
      return go(int32_t{INT32_MIN}, largest);
    case Reduction::kIntMinimum:
      return go(int32_t{INT32_MAX}, smallest);
    default:
      return;
  }
}

void Reduce(Reduction operation, const void* in, int64_t count, void* out) {
  if (operation == Reduction::kArgmax) {
    return PlaceInRow(in, count, out, -kLargest, [](auto x, auto y) { return x > y; });
  }
  if (operation == Reduction::kArgmin) {
    return PlaceInRow(in, count, out, kLargest, [](auto x, auto y) { return x < y; });
  }
  WithReduction(operation, [&](auto start, auto put) { ReduceRow(in, count, out, start, put); });
}

void ReducePart(Reduction operation, const void* in, int64_t count, bool fresh, void* out) {
  WithReduction(operation, [&](auto start, auto put) {
    PutToPartials(in, count, fresh, start, put, static_cast<decltype(start)*>(out));
  });
}

}  // namespace MICROSCOPIQ_ISA
}  // namespace microscopiq
