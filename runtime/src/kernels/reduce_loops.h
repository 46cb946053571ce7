// Reductions of rows of words. No include guard: once per variant.
namespace microscopiq {
namespace MICROSCOPIQ_ISA {

template <typename Number, typename Put>
void ReduceRow(const void* row, int64_t count, void* out, Number start, Put put) {
  const Number* in = static_cast<const Number*>(row);
  Number partial[kPartials];
  for (Number& one : partial) one = start;
  int64_t n = 0;
  for (; n + kPartials <= count; n += kPartials) {
    for (int lane = 0; lane < kPartials; ++lane) partial[lane] = put(partial[lane], in[n + lane]);
  }
  for (int lane = 0; n + lane < count; ++lane) partial[lane] = put(partial[lane], in[n + lane]);
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

void Reduce(Reduction operation, const void* in, int64_t count, void* out) {
  constexpr float kLargest = 3.40282346638528859812e+38f;
  const auto larger = [](auto x, auto y) { return x > y; };
  const auto smaller = [](auto x, auto y) { return x < y; };
  const auto largest = [](auto whole, auto x) { return whole > x ? whole : x; };
  const auto smallest = [](auto whole, auto x) { return whole < x ? whole : x; };
  switch (operation) {
    case Reduction::kSum:
      return ReduceRow(in, count, out, 0.0f, [](float whole, float x) { return whole + x; });
    case Reduction::kMaximum:
      return ReduceRow(in, count, out, -kLargest, largest);
    case Reduction::kMinimum:
      return ReduceRow(in, count, out, kLargest, smallest);
    case Reduction::kIntSum:
      return ReduceRow(in, count, out, uint32_t{0},
                       [](uint32_t whole, uint32_t x) { return whole + x; });
    case Reduction::kIntMaximum:
      return ReduceRow(in, count, out, int32_t{INT32_MIN}, largest);
    case Reduction::kIntMinimum:
      return ReduceRow(in, count, out, int32_t{INT32_MAX}, smallest);
    case Reduction::kArgmax:
      return PlaceInRow(in, count, out, -kLargest, larger);
    case Reduction::kArgmin:
      return PlaceInRow(in, count, out, kLargest, smaller);
  }
}

}  // namespace MICROSCOPIQ_ISA
}  // namespace microscopiq
