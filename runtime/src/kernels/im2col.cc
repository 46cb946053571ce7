#include "kernels/im2col.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace microscopiq {
namespace {

constexpr int kColumns = 8;       // gathered one after the other, then written together
constexpr int64_t kChunk = 512;   // rows of which eight columns are gathered at once
constexpr int64_t kOverread = 8;  // bytes that a short copy may touch
// Kernels of more elements find their runs anew for each column: no kernel takes much memory.
constexpr int64_t kKeptElements = 128;

// Neighbours in one output row whose pixels lie inside the image.
struct Run {
  int64_t first;  // row of the tile
  int64_t count;
  int64_t pixel;  // of the first, from the channel's first pixel
};

// Calls `visit(first row, rows, y, x)` for the output rows of a tile's rows [begin, end): `first
// row` counts from the tile's, and (y, x) is the pixel under the kernel's first element.
template <typename Visit>
void ForOutputRows(const DmaIm2col& op, int64_t row0, int64_t begin, int64_t end, Visit visit) {
  int64_t out_y = (row0 + begin) / op.out_width, out_x = (row0 + begin) % op.out_width;
  for (int64_t row = begin; row < end;) {
    const int64_t count = std::min<int64_t>(op.out_width - out_x, end - row);
    visit(row, count, out_y * op.stride_h - op.pad_top, out_x * op.stride_w - op.pad_left);
    row += count;
    ++out_y;
    out_x = 0;
  }
}

// Of `count` pixels from `x` on, `stride` apart: how many lie left of the image, and how many do
// before the first one to its right.
void Inside(int64_t x, int64_t count, int64_t stride, int64_t width, int64_t* left,
            int64_t* right) {
  *left = x < 0 ? std::min(count, (-x + stride - 1) / stride) : 0;
  *right = x < width ? std::min(count, (width - 1 - x) / stride + 1) : 0;
  *right = std::max(*left, *right);
}

// The runs of a kernel element in rows [begin, end) of a tile.
void FindRuns(const DmaIm2col& op, int64_t row0, int64_t begin, int64_t end, int64_t element,
              std::vector<Run>* runs) {
  runs->clear();
  const int64_t down = element / op.kernel_w * op.dilation_h;
  const int64_t across = element % op.kernel_w * op.dilation_w;
  ForOutputRows(op, row0, begin, end, [&](int64_t row, int64_t count, int64_t y, int64_t x) {
    y += down;
    x += across;
    if (y < 0 || y >= op.height) return;
    int64_t left, right;
    Inside(x, count, op.stride_w, op.width, &left, &right);
    if (left == right) return;
    runs->push_back({row + left, right - left, y * op.width + x + left * op.stride_w});
  });
}

template <int kStride>
void CopyStrided(const uint8_t* src, int64_t count, uint8_t* dst) {
  for (int64_t i = 0; i < count; ++i) dst[i] = src[i * kStride];
}

// Copies `count` pixels, `stride` apart. Writes up to kOverread bytes, later ones are overwritten.
void CopyRun(const uint8_t* src, int64_t stride, int64_t count, const uint8_t* end, uint8_t* dst) {
  if (stride == 1 && count <= kOverread && end - src >= kOverread) {
    std::memcpy(dst, src, kOverread);
  } else if (stride == 1) {
    std::memcpy(dst, src, count);
  } else if (stride == 2) {
    CopyStrided<2>(src, count, dst);
  } else {
    for (int64_t i = 0; i < count; ++i) dst[i] = src[i * stride];
  }
}

// One column of a chunk whose first row is `begin`, zeros between the runs.
void GatherColumn(const std::vector<Run>& runs, int64_t begin, int64_t rows, int64_t stride,
                  const uint8_t* channel, const uint8_t* end, uint8_t* column) {
  int64_t done = 0;
  for (const Run& run : runs) {
    const int64_t at = run.first - begin;
    if (at > done) std::memset(column + done, 0, at - done);
    CopyRun(channel + run.pixel, stride, run.count, end, column + at);
    done = at + run.count;
  }
  if (done < rows) std::memset(column + done, 0, rows - done);
}

// Swaps the blocks of `bits` bits between two rows of a matrix of bytes.
void Swap(uint64_t* upper, uint64_t* lower, int bits, uint64_t mask) {
  const uint64_t both = (*upper >> bits ^ *lower) & mask;
  *lower ^= both;
  *upper ^= both << bits;
}

// Transposes 8 x 8 bytes by swapping ever smaller blocks.
void Transpose(uint64_t* rows) {
  for (int i = 0; i < 4; ++i) Swap(&rows[i], &rows[i + 4], 32, 0x00000000FFFFFFFF);
  for (int i : {0, 1, 4, 5}) Swap(&rows[i], &rows[i + 2], 16, 0x0000FFFF0000FFFF);
  for (int i : {0, 2, 4, 6}) Swap(&rows[i], &rows[i + 1], 8, 0x00FF00FF00FF00FF);
}

using Columns = uint8_t[kColumns][kChunk + kOverread];

// Writes `count` gathered columns to `rows` rows.
void WriteColumns(const Columns& columns, int64_t rows, int64_t count, int64_t pitch,
                  uint8_t* dst) {
  for (int64_t row = 0; row < rows; row += 8) {
    uint64_t block[8];
    for (int i = 0; i < kColumns; ++i) std::memcpy(&block[i], columns[i] + row, 8);
    Transpose(block);
    for (int64_t i = 0; i < std::min<int64_t>(8, rows - row); ++i) {
      if (count == kColumns) {
        std::memcpy(dst + (row + i) * pitch, &block[i], 8);
      } else {
        std::memcpy(dst + (row + i) * pitch, &block[i], count);
      }
    }
  }
}

}  // namespace

PixelBox PixelsOf(const DmaIm2col& op, const Im2colTile& tile) {
  const int64_t last = tile.row0 + tile.rows - 1;
  const int64_t first_y = tile.row0 / op.out_width, last_y = last / op.out_width;
  const auto reach = [](int64_t at, int64_t stride, int64_t pad) { return at * stride - pad; };
  const int64_t high = int64_t{op.kernel_h - 1} * op.dilation_h;
  const int64_t wide = int64_t{op.kernel_w - 1} * op.dilation_w;
  const int64_t top = std::max<int64_t>(0, reach(first_y, op.stride_h, op.pad_top));
  const int64_t bottom =
      std::min<int64_t>(op.height, reach(last_y, op.stride_h, op.pad_top) + high + 1);
  int64_t left = 0, right = op.width;
  if (first_y == last_y) {
    left = std::max(left, reach(tile.row0 % op.out_width, op.stride_w, op.pad_left));
    right = std::min(right, reach(last % op.out_width, op.stride_w, op.pad_left) + wide + 1);
  }
  if (top >= bottom || left >= right) return {0, 0, 0};
  return {top * op.width + left, bottom - top, right - left};
}

int64_t CountInside(const DmaIm2col& op, const Im2colTile& tile) {
  const int64_t kernel = int64_t{op.kernel_h} * op.kernel_w;
  int64_t total = 0;
  ForOutputRows(op, tile.row0, 0, tile.rows, [&](int64_t, int64_t count, int64_t y, int64_t x) {
    for (int64_t element = 0; element < std::min(kernel, tile.cols); ++element) {
      const int64_t at = (tile.col0 + element) % kernel;
      const int64_t row = y + at / op.kernel_w * op.dilation_h;
      if (row < 0 || row >= op.height) continue;
      int64_t left, right;
      Inside(x + at % op.kernel_w * op.dilation_w, count, op.stride_w, op.width, &left, &right);
      // Columns a kernel apart see the same pixels of other channels.
      total += (right - left) * ((tile.cols - element - 1) / kernel + 1);
    }
  });
  return total;
}

void GatherIm2col(const DmaIm2col& op, const Im2colTile& tile, const uint8_t* image,
                  const uint8_t* end, uint8_t* dst) {
  const int64_t kernel = int64_t{op.kernel_h} * op.kernel_w;
  const int64_t pixels = int64_t{op.height} * op.width;
  std::vector<std::vector<Run>> kept(kernel <= kKeptElements ? kernel : 1);
  Columns columns = {};
  for (int64_t begin = 0; begin < tile.rows; begin += kChunk) {
    const int64_t rows = std::min(kChunk, tile.rows - begin);
    for (size_t i = 0; i < kept.size(); ++i) {
      FindRuns(op, tile.row0, begin, begin + rows, static_cast<int64_t>(i), &kept[i]);
    }
    for (int64_t first = 0; first < tile.cols; first += kColumns) {
      const int64_t count = std::min<int64_t>(kColumns, tile.cols - first);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t k = tile.col0 + first + i;
        std::vector<Run>& runs = kept[kernel <= kKeptElements ? k % kernel : 0];
        if (kernel > kKeptElements) FindRuns(op, tile.row0, begin, begin + rows, k % kernel, &runs);
        GatherColumn(runs, begin, rows, op.stride_w, image + k / kernel * pixels, end, columns[i]);
      }
      WriteColumns(columns, rows, count, op.dst_pitch, dst + begin * op.dst_pitch + first);
    }
  }
}

}  // namespace microscopiq
