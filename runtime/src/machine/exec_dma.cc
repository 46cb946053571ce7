// Transfers between DRAM (the arguments and the weight segment) and the on-chip memories.
#include <algorithm>
#include <cstring>

#include "errors.h"
#include "kernels/boxes.h"
#include "kernels/im2col.h"
#include "machine/machine.h"

namespace microscopiq {
namespace {

// Larger rows and columns of an im2col matrix could overflow the addresses made from them.
constexpr int64_t kMaxIm2colIndex = 1 << 29;

}  // namespace

Work Machine::Transfer(int64_t bytes) const {
  const int64_t bandwidth = arch_.dram_bandwidth_bytes_per_cycle;
  Work work;
  work.busy = bandwidth ? (bytes + bandwidth - 1) / bandwidth : 0;
  work.latency = arch_.dram_latency_cycles;
  work.dram = true;
  return work;
}

void Machine::CheckDram(int arg, const DramBox& box) const {
  using Wide = __int128;
  const Tensor& tensor = arguments_[arg];
  const Wide down = static_cast<Wide>(box.rows - 1) * box.pitch,
             across = static_cast<Wide>(box.cols - 1) * box.step;
  const Wide low = box.base + std::min<Wide>(down, 0) + std::min<Wide>(across, 0);
  const Wide high = box.base + std::max<Wide>(down, 0) + std::max<Wide>(across, 0) + box.element;
  if (low < 0 || high > tensor.bytes) {
    Fail(kSimError, "argument ", arg, " (", function_->arguments[arg].name, ") address ",
         Hex{box.base}, ": ", box.rows, " rows ", box.pitch, " bytes apart of ", box.cols,
         " elements ", box.step, " bytes apart leave the tensor; allowed: 0x0 to ",
         Hex{tensor.bytes});
  }
}

uint8_t* Machine::Dram(int arg, const DramBox& box) {
  CheckDram(arg, box);
  if (!values_) return nullptr;
  if (watch_) {
    watch_->Tensor(arg, box.base, box.rows, box.pitch, box.cols, box.step, box.element);
  }
  return arguments_[arg].data + box.base;
}

template <typename Op>
int64_t Machine::ChipElement(const Op& op) const {
  if (!op.convert) return op.element;
  const int bytes = kConversionBytes[op.convert];
  if (op.element != bytes) {
    Fail(kSimError, "elements of ", int{op.element}, " bytes; ", kConversionNames[op.convert],
         " has ", bytes);
  }
  if (op.mem != static_cast<uint8_t>(Mem::kObuf)) {
    Fail(kSimError, "words of ", kMemNames[op.mem], " are converted; allowed: those of obuf");
  }
  return 4;
}

void Machine::Widen(int convert, int arg, const DramBox& box, const uint8_t* src, uint8_t* dst,
                    int64_t dst_pitch) const {
  const Unfit unfit =
      ToWords(convert, src, {box.pitch, box.step}, dst, dst_pitch, box.rows, box.cols);
  if (unfit.row < 0) return;
  Fail(kSimError, "argument ", arg, " (", function_->arguments[arg].name, ") address ",
       Hex{box.base + unfit.row * box.pitch + unfit.col * box.step}, ": int64 ", unfit.value,
       "; allowed: ", INT32_MIN, " to ", INT32_MAX, ", what 32 bits hold");
}

Machine::Outcome Machine::Execute(const DmaLoad& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) return std::nullopt;
  const int64_t row_bytes = cols * ChipElement(op);
  uint8_t* dst =
      memories_[op.mem].Write({At(op.dst), op.dst_pitch, rows, row_bytes, op.convert ? 4 : 1});
  const DramBox box{At(op.src), rows, op.src_pitch, cols, op.src_step, op.element};
  const uint8_t* src = Dram(op.arg, box);
  if (values_ && op.convert) {
    Widen(op.convert, op.arg, box, src, dst, op.dst_pitch);
  } else if (values_) {
    CopyBox(op.element, src, {op.src_pitch, op.src_step}, dst, {op.dst_pitch, op.element}, rows,
            cols);
  }
  record_.dram.read += rows * cols * op.element;
  return Transfer(rows * cols * op.element);
}

Machine::Outcome Machine::Execute(const DmaGather& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) return std::nullopt;
  const int64_t element = ChipElement(op), first = At(op.index), dst_first = At(op.dst);
  const uint8_t* indices = memory(Mem::kObuf).Read({first, op.index_pitch, rows, 4, 4});
  uint8_t* dst =
      memories_[op.mem].Write({dst_first, op.dst_pitch, rows, cols * element, op.convert ? 4 : 1});
  const int64_t end = first + int64_t{op.index_pitch} * (rows - 1) + 4;
  const int64_t dst_end = dst_first + int64_t{op.dst_pitch} * (rows - 1) + cols * element;
  if (op.mem == static_cast<uint8_t>(Mem::kObuf) && first < dst_end && dst_first < end) {
    Fail(kSimError, "the rows at ", Hex{dst_first}, " lie on the indices at ", Hex{first},
         "; allowed: apart from them");
  }
  CheckDram(op.arg, {At(op.src), op.limit, op.src_pitch, cols, op.src_step, op.element});
  for (int64_t row = 0; row < rows && values_; ++row) {
    int32_t index;
    std::memcpy(&index, indices + row * op.index_pitch, sizeof(index));
    if (index < 0 || index >= int64_t{op.limit}) {
      Fail(kSimError, "index ", index, " of row ", row, ", obuf address ",
           Hex{first + row * op.index_pitch}, "; allowed: 0 to ", op.limit - 1);
    }
    const DramBox box{At(op.src) + index * op.src_pitch, 1, 0, cols, op.src_step, op.element};
    const uint8_t* src = Dram(op.arg, box);
    uint8_t* out = dst + row * op.dst_pitch;
    if (op.convert) {
      Widen(op.convert, op.arg, box, src, out, 0);
    } else {
      CopyBox(op.element, src, {0, op.src_step}, out, {0, op.element}, 1, cols);
    }
  }
  record_.dram.read += rows * cols * op.element;
  // Rows lie anywhere: none shares a cycle of the channel with another.
  Work work = Transfer(cols * op.element);
  work.busy *= rows;
  return work;
}

Machine::Outcome Machine::Execute(const DmaStore& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) return std::nullopt;
  if (!arguments_[op.arg].writable) {
    Fail(kSimError, "argument ", int{op.arg}, " (", function_->arguments[op.arg].name,
         ") is an input; allowed: outputs");
  }
  const int64_t element = ChipElement(op), row_bytes = cols * element;
  if (rows > 1 && op.src_pitch < row_bytes) {
    Fail(kSimError, "rows of ", row_bytes, " bytes are read ", op.src_pitch,
         " bytes apart; allowed: at least their length");
  }
  const uint8_t* src =
      memories_[op.mem].Read({At(op.src), op.src_pitch, rows, row_bytes, op.convert ? 4 : 1});
  uint8_t* dst = Dram(op.arg, {At(op.dst), rows, op.dst_pitch, cols, op.dst_step, op.element});
  const Layout to{op.dst_pitch, op.dst_step};
  if (values_ && op.convert) {
    FromWords(op.convert, src, op.src_pitch, dst, to, rows, cols);
  } else if (values_) {
    CopyBox(op.element, src, {op.src_pitch, op.element}, dst, to, rows, cols);
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
  const uint8_t* src = Dram(op.arg, {At(op.src), 1, 0, (first_channel + channels) * image, 1, 1});

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
