#include "kernels/boxes.h"

#include <algorithm>
#include <cstring>

#include "isa.gen.h"

namespace microscopiq {
namespace {

// Rows and columns that are copied together where neighbours aren't neighbours in DRAM (a
// convolution's output): as many as a cache line holds elements.
constexpr int64_t kBlockSide = 16;

template <typename Element>
void CopyElement(const uint8_t* src, uint8_t* dst) {
  std::memcpy(dst, src, sizeof(Element));
}

// One element after the other, rows first to last: later ones win where they overlap.
template <typename Element>
void CopyElements(const uint8_t* src, Layout from, uint8_t* dst, Layout to, int64_t rows,
                  int64_t cols) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t col = 0; col < cols; ++col) {
      CopyElement<Element>(src + row * from.pitch + col * from.step,
                           dst + row * to.pitch + col * to.step);
    }
  }
}

// Block by block, in each along the way in which writes are neighbours.
template <typename Element>
void CopyBlocks(const uint8_t* src, Layout from, uint8_t* dst, Layout to, int64_t rows,
                int64_t cols) {
  const bool down = to.pitch < to.step;
  for (int64_t row = 0; row < rows; row += kBlockSide) {
    for (int64_t col = 0; col < cols; col += kBlockSide) {
      const uint8_t* in = src + row * from.pitch + col * from.step;
      uint8_t* out = dst + row * to.pitch + col * to.step;
      const int64_t height = std::min(kBlockSide, rows - row);
      const int64_t width = std::min(kBlockSide, cols - col);
      if (down) {
        CopyElements<Element>(in, {from.step, from.pitch}, out, {to.step, to.pitch}, width, height);
      } else {
        CopyElements<Element>(in, from, out, to, height, width);
      }
    }
  }
}

template <typename Element>
void Copy(const uint8_t* src, Layout from, uint8_t* dst, Layout to, int64_t rows, int64_t cols) {
  constexpr int64_t kBytes = sizeof(Element);
  const int64_t row_bytes = cols * kBytes;
  if (from.step == kBytes && to.step == kBytes) {
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(dst + row * to.pitch, src + row * from.pitch, row_bytes);
    }
    return;
  }
  // No element is written twice: any order gives the same.
  const bool apart = (to.step == kBytes && to.pitch >= row_bytes) ||
                     (to.pitch == kBytes && to.step >= rows * kBytes);
  (apart ? CopyBlocks<Element> : CopyElements<Element>)(src, from, dst, to, rows, cols);
}

template <typename In, typename Out>
void Convert(const uint8_t* src, Layout from, uint8_t* dst, Layout to, int64_t rows, int64_t cols) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t col = 0; col < cols; ++col) {
      In in;
      std::memcpy(&in, src + row * from.pitch + col * from.step, sizeof(in));
      const Out out = static_cast<Out>(in);
      std::memcpy(dst + row * to.pitch + col * to.step, &out, sizeof(out));
    }
  }
}

Unfit FindUnfit(const uint8_t* src, Layout from, int64_t rows, int64_t cols) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t col = 0; col < cols; ++col) {
      int64_t value;
      std::memcpy(&value, src + row * from.pitch + col * from.step, sizeof(value));
      if (value != static_cast<int32_t>(value)) return {row, col, value};
    }
  }
  return {};
}

}  // namespace

void CopyBox(int element, const uint8_t* src, Layout from, uint8_t* dst, Layout to, int64_t rows,
             int64_t cols) {
  switch (element) {
    case 1:
      return Copy<uint8_t>(src, from, dst, to, rows, cols);
    case 2:
      return Copy<uint16_t>(src, from, dst, to, rows, cols);
    case 4:
      return Copy<uint32_t>(src, from, dst, to, rows, cols);
    default:
      return Copy<uint64_t>(src, from, dst, to, rows, cols);
  }
}

Unfit ToWords(int convert, const uint8_t* src, Layout from, uint8_t* dst, int64_t dst_pitch,
              int64_t rows, int64_t cols) {
  const Layout to{dst_pitch, 4};
  switch (static_cast<Conversion>(convert)) {
    case Conversion::kNone:
      break;
    case Conversion::kInt8:
      Convert<int8_t, int32_t>(src, from, dst, to, rows, cols);
      break;
    case Conversion::kUint8:
      Convert<uint8_t, int32_t>(src, from, dst, to, rows, cols);
      break;
    case Conversion::kInt16:
      Convert<int16_t, int32_t>(src, from, dst, to, rows, cols);
      break;
    case Conversion::kInt64: {
      const Unfit unfit = FindUnfit(src, from, rows, cols);
      if (unfit.row >= 0) return unfit;
      Convert<int64_t, int32_t>(src, from, dst, to, rows, cols);
    }
  }
  return {};
}

void FromWords(int convert, const uint8_t* src, int64_t src_pitch, uint8_t* dst, Layout to,
               int64_t rows, int64_t cols) {
  const Layout from{src_pitch, 4};
  switch (static_cast<Conversion>(convert)) {
    case Conversion::kNone:
      break;
    case Conversion::kInt8:
    case Conversion::kUint8:
      return Convert<uint32_t, uint8_t>(src, from, dst, to, rows, cols);
    case Conversion::kInt16:
      return Convert<uint32_t, uint16_t>(src, from, dst, to, rows, cols);
    case Conversion::kInt64:
      return Convert<int32_t, int64_t>(src, from, dst, to, rows, cols);
  }
}

}  // namespace microscopiq
