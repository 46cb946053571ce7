// The rows of an im2col matrix: which pixels they hold, and how many of those exist.
#pragma once
#include <cstdint>

#include "isa.gen.h"

namespace microscopiq {

// A tile of the matrix: rows are output pixels, columns are (channel, kernel row, kernel column).
struct Im2colTile {
  int64_t row0;
  int64_t col0;
  int64_t rows;
  int64_t cols;
};

// Pixels of a channel that a tile needs: rows of an image's width, from the first pixel on.
struct PixelBox {
  int64_t first;
  int64_t rows;  // 0: padding alone
  int64_t cols;
};

// The smallest box with all pixels of a tile's windows; whole rows where it has several of outputs.
PixelBox PixelsOf(const DmaIm2col& op, const Im2colTile& tile);

// Elements of a tile that lie inside the image; the others are padding and move no byte.
int64_t CountInside(const DmaIm2col& op, const Im2colTile& tile);

// Writes a tile, padding as 0; `image` is the first pixel of channel 0, and the bytes up to `end`
// may be read.
void GatherIm2col(const DmaIm2col& op, const Im2colTile& tile, const uint8_t* image,
                  const uint8_t* end, uint8_t* dst);

}  // namespace microscopiq
