// Transfers between DRAM (the arguments and the weight segment) and the on-chip memories.
#include <algorithm>
#include <cstring>

#include "errors.h"
#include "machine.h"

namespace microscopiq {
namespace {

// Larger rows and columns of an im2col matrix could overflow the addresses made from them.
constexpr int64_t kMaxIm2colIndex = 1 << 29;

template <typename Element>
void CopyStrided(const uint8_t* src, int64_t src_step, uint8_t* dst, int64_t dst_step,
                 int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(dst + i * dst_step, src + i * src_step, sizeof(Element));
  }
}

void CopyRow(const uint8_t* src, int64_t src_step, uint8_t* dst, int64_t dst_step, int64_t count,
             int element) {
  if (src_step == element && dst_step == element) {
    std::memcpy(dst, src, count * element);
  } else if (element == 4) {
    CopyStrided<uint32_t>(src, src_step, dst, dst_step, count);
  } else {
    CopyStrided<uint8_t>(src, src_step, dst, dst_step, count);
  }
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
  if (watch_) watch_->Tensor(arg, base, rows, pitch, cols, step, element);
  return tensor.data + base;
}

Machine::Outcome Machine::Execute(const DmaLoad& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) return std::nullopt;
  uint8_t* dst = memories_[op.mem].Write({At(op.dst), op.dst_pitch, rows, cols * op.element});
  const uint8_t* src = Dram(op.arg, At(op.src), rows, op.src_pitch, cols, op.src_step, op.element);
  for (int64_t row = 0; row < rows; ++row) {
    CopyRow(src + row * op.src_pitch, op.src_step, dst + row * op.dst_pitch, op.element, cols,
            op.element);
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
  for (int64_t row = 0; row < rows; ++row) {
    CopyRow(src + row * op.src_pitch, op.element, dst + row * op.dst_pitch, op.dst_step, cols,
            op.element);
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

  struct Column {
    int64_t offset;  // of the channel's first pixel
    int64_t y, x;    // of the kernel element
  };
  std::vector<Column> columns(static_cast<size_t>(cols));
  for (int64_t i = 0; i < cols; ++i) {
    const int64_t k = col0 + i;
    columns[i] = {k / kernel * image, k / op.kernel_w % op.kernel_h * op.dilation_h,
                  k % op.kernel_w * op.dilation_w};
  }
  int64_t moved = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t top = (row0 + row) / op.out_width * op.stride_h - op.pad_top;
    const int64_t left = (row0 + row) % op.out_width * op.stride_w - op.pad_left;
    uint8_t* out = dst + row * op.dst_pitch;
    for (int64_t i = 0; i < cols; ++i) {
      const int64_t y = top + columns[i].y, x = left + columns[i].x;
      const bool inside = y >= 0 && y < op.height && x >= 0 && x < op.width;
      out[i] = inside ? src[columns[i].offset + y * op.width + x] : 0;
      moved += inside;
    }
  }
  record_.dram.read += moved;
  return Transfer(moved);
}

Machine::Outcome Machine::Execute(const DmaWeight& op) {
  const WeightSegment& weights = function_->weights;
  const int64_t panel = At(op.panel);
  if (panel < 0 || panel >= weights.panels) {
    Fail(kSimError, "weight panel ", panel, "; the function has ", weights.panels);
  }
  uint32_t range[2];
  std::memcpy(range, weights.data + 4 + 4 * panel, sizeof(range));
  const int64_t bytes = range[1] - range[0];
  if (bytes > op.capacity) {
    Fail(kSimError, "weight panel ", panel, " has ", bytes, " bytes; allowed: ", op.capacity);
  }
  if (bytes == 0) return std::nullopt;
  std::memcpy(wbuf().Write({At(op.dst), 0, 1, bytes}), weights.data + range[0], bytes);
  record_.dram.read += bytes;
  return Transfer(bytes);
}

}  // namespace microscopiq
