// Transfers between DRAM (the arguments and the weight segment) and the on-chip memories.
#include <algorithm>
#include <cstring>

#include "errors.h"
#include "kernels/im2col.h"
#include "machine/machine.h"

namespace microscopiq {
namespace {

// Larger rows and columns of an im2col matrix could overflow the addresses made from them.
constexpr int64_t kMaxIm2colIndex = 1 << 29;

// Rows and columns that are copied together where neighbours aren't neighbours in DRAM (a
// convolution's output): as many as a cache line holds elements.
constexpr int64_t kBlockSide = 16;

// Where elements lie: bytes between rows, and between elements of a row.
struct Layout {
  int64_t pitch;
  int64_t step;
};

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

void Copy(int element, const uint8_t* src, Layout from, uint8_t* dst, Layout to, int64_t rows,
          int64_t cols) {
  (element == 4 ? Copy<uint32_t> : Copy<uint8_t>)(src, from, dst, to, rows, cols);
}

}  // namespace

Work Machine::Transfer(int64_t bytes) const {
  const int64_t bandwidth = arch_.dram_bandwidth_bytes_per_cycle;
  Work work;
  work.busy = bandwidth ? (bytes + bandwidth - 1) / bandwidth : 0;
  work.latency = arch_.dram_latency_cycles;
  work.dram = true;
  return work;
}

uint8_t* Machine::Dram(int arg, int64_t base, int64_t rows, int64_t pitch, int64_t cols,
                       int64_t step, int64_t element) {
  using Wide = __int128;
  const Tensor& tensor = arguments_[arg];
  const Wide down = static_cast<Wide>(rows - 1) * pitch,
             across = static_cast<Wide>(cols - 1) * step;
  const Wide low = base + std::min<Wide>(down, 0) + std::min<Wide>(across, 0);
  const Wide high = base + std::max<Wide>(down, 0) + std::max<Wide>(across, 0) + element;
  if (low < 0 || high > tensor.bytes) {
    Fail(kSimError, "argument ", arg, " (", function_->arguments[arg].name, ") address ", Hex{base},
         ": ", rows, " rows ", pitch, " bytes apart of ", cols, " elements ", step,
         " bytes apart leave the tensor; allowed: 0x0 to ", Hex{tensor.bytes});
  }
  if (!values_) return nullptr;
  if (watch_) watch_->Tensor(arg, base, rows, pitch, cols, step, element);
  return tensor.data + base;
}

Machine::Outcome Machine::Execute(const DmaLoad& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) return std::nullopt;
  uint8_t* dst = memories_[op.mem].Write({At(op.dst), op.dst_pitch, rows, cols * op.element});
  const uint8_t* src = Dram(op.arg, At(op.src), rows, op.src_pitch, cols, op.src_step, op.element);
  if (values_) {
    Copy(op.element, src, {op.src_pitch, op.src_step}, dst, {op.dst_pitch, op.element}, rows, cols);
  }
  record_.dram.read += rows * cols * op.element;
  return Transfer(rows * cols * op.element);
}

Machine::Outcome Machine::Execute(const DmaStore& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) return std::nullopt;
  if (!arguments_[op.arg].writable) {
    Fail(kSimError, "argument ", int{op.arg}, " (", function_->arguments[op.arg].name,
         ") is an input; allowed: outputs");
  }
  if (rows > 1 && op.src_pitch < cols * op.element) {
    Fail(kSimError, "rows of ", cols * op.element, " bytes are read ", op.src_pitch,
         " bytes apart; allowed: at least their length");
  }
  const uint8_t* src = memories_[op.mem].Read({At(op.src), op.src_pitch, rows, cols * op.element});
  uint8_t* dst = Dram(op.arg, At(op.dst), rows, op.dst_pitch, cols, op.dst_step, op.element);
  if (values_) {
    Copy(op.element, src, {op.src_pitch, op.element}, dst, {op.dst_pitch, op.dst_step}, rows, cols);
  }
  record_.dram.written += rows * cols * op.element;
  return Transfer(rows * cols * op.element);
}

Machine::Outcome Machine::Execute(const DmaIm2col& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) return std::nullopt;
  const int64_t row0 = At(op.row0), col0 = At(op.col0);
  if (row0 < 0 || col0 < 0 || row0 > kMaxIm2colIndex || col0 > kMaxIm2colIndex) {
    Fail(kSimError, "first row ", row0, ", first column ", col0, "; allowed: 0 to ",
         kMaxIm2colIndex);
  }
  const int64_t kernel = int64_t{op.kernel_h} * op.kernel_w;
  const int64_t image = int64_t{op.height} * op.width;
  const int64_t first_channel = col0 / kernel;
  const int64_t channels = (col0 + cols - 1) / kernel - first_channel + 1;
  uint8_t* dst = memories_[op.mem].Write({At(op.dst), op.dst_pitch, rows, cols});
  const uint8_t* src = Dram(op.arg, At(op.src), 1, 0, (first_channel + channels) * image, 1, 1);

  const Im2colTile tile{row0, col0, rows, cols};
  if (values_) GatherIm2col(op, tile, src, src + (first_channel + channels) * image, dst);
  const int64_t moved = CountInside(op, tile);
  record_.dram.read += moved;
  return Transfer(moved);
}

Machine::Outcome Machine::Execute(const DmaWeight& op) {
  const WeightSegment& weights = function_->weights;
  const int64_t panel = At(op.panel);
  if (panel < 0 || panel >= weights.panels) {
    Fail(kSimError, "weight panel ", panel, "; the function has ", weights.panels);
  }
  const auto [data, bytes] = weights.panel(panel);
  if (bytes > op.capacity) {
    Fail(kSimError, "weight panel ", panel, " has ", bytes, " bytes; allowed: ", op.capacity);
  }
  if (bytes == 0) return std::nullopt;
  // Also without values: what an instruction costs depends on the panel's metadata.
  std::memcpy(wbuf().Write({At(op.dst), 0, 1, bytes}), data, bytes);
  if (weights.shape_only) recon_settings_.Load(At(op.dst), data, bytes);
  record_.dram.read += bytes;
  return Transfer(bytes);
}

}  // namespace microscopiq
