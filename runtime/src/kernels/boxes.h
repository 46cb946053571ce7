// Copies of strided boxes of elements, as they are or with a conversion to words of 32 bits.
#pragma once
#include <cstdint>

namespace microscopiq {

// Where elements lie: bytes between rows, and between elements of a row.
struct Layout {
  int64_t pitch;
  int64_t step;
};

// The first element that no word of int32 holds; row -1 for none.
struct Unfit {
  int64_t row = -1;
  int64_t col = 0;
  int64_t value = 0;
};

// Elements of 1, 2, 4 or 8 bytes.
void CopyBox(int element, const uint8_t* src, Layout from, uint8_t* dst, Layout to, int64_t rows,
             int64_t cols);
// Elements of a `Conversion` to words; where one doesn't fit, nothing is written.
Unfit ToWords(int convert, const uint8_t* src, Layout from, uint8_t* dst, int64_t dst_pitch,
              int64_t rows, int64_t cols);
void FromWords(int convert, const uint8_t* src, int64_t src_pitch, uint8_t* dst, Layout to,
               int64_t rows, int64_t cols);

}  // namespace microscopiq
