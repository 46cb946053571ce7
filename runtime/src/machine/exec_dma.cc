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
// Bytes that a memory with channels and rows has addresses for.
constexpr int64_t kMostDram = int64_t{1} << 48;

}  // namespace

void Machine::PlaceInDram() {
  dram_bases_.clear();
  if (!arch_.dram_channels) return;
  // One behind the other, each from the first channel on.
  const int64_t align = arch_.dram_row_bytes * arch_.dram_channels;
  int64_t next = 0;
  for (const Tensor& tensor : arguments_) {
    dram_bases_.push_back(next);
    next = std::min(next, kMostDram) + (std::min(tensor.bytes, kMostDram) / align + 1) * align;
  }
  if (next > kMostDram) {
    Fail(kSimError, "arguments of ", next, " bytes; allowed: ", kMostDram, ", what has addresses");
  }
  panel_places_.clear();
  for (uint32_t panel = 0; panel < function_->weights.panels; ++panel) {
    panel_places_.push_back(next);
    next += function_->weights.panel(panel).count;
  }
}

DramSpan Machine::SpanOf(int arg, const DramBox& box) const {
  const int64_t address = dram_bases_[arg] + box.base;
  if (box.step == box.element) {
    return {address, box.rows, box.pitch, 1, 0, box.cols * box.element};
  }
  return {address, box.rows, box.pitch, box.cols, box.step, box.element};
}

template <typename Spans>
Work Machine::Transfer(int64_t bytes, bool write, Spans spans) const {
  Work work;
  work.dram = true;
  work.latency = arch_.dram_latency_cycles;
  if (arch_.dram_channels) {
    work.transfer = std::make_shared<const DramTransfer>(DramTransfer{spans(), write});
    return work;
  }
  const int64_t bandwidth = arch_.dram_bandwidth_bytes_per_cycle;
  work.busy = bandwidth ? (bytes + bandwidth - 1) / bandwidth : 0;
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
  return Transfer(rows * cols * op.element, false,
                  [&] { return std::vector<DramSpan>{SpanOf(op.arg, box)}; });
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
  // Rows lie anywhere: none shares a cycle of the channel with another. Cycles depend on no
  // values, so where bursts count, the rows are spread evenly.
  Work work = Transfer(cols * op.element, false, [&] {
    std::vector<DramSpan> spans;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t index = row * int64_t{op.limit} / rows;
      const int64_t base = At(op.src) + index * op.src_pitch;
      spans.push_back(SpanOf(op.arg, {base, 1, 0, cols, op.src_step, op.element}));
    }
    return spans;
  });
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
  const DramBox box{At(op.dst), rows, op.dst_pitch, cols, op.dst_step, op.element};
  uint8_t* dst = Dram(op.arg, box);
  const Layout to{op.dst_pitch, op.dst_step};
  if (values_ && op.convert) {
    FromWords(op.convert, src, op.src_pitch, dst, to, rows, cols);
  } else if (values_) {
    CopyBox(op.element, src, {op.src_pitch, op.element}, dst, to, rows, cols);
  }
  record_.dram.written += rows * cols * op.element;
  return Transfer(rows * cols * op.element, true,
                  [&] { return std::vector<DramSpan>{SpanOf(op.arg, box)}; });
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
  return Transfer(moved, false, [&] {
    const PixelBox pixels = PixelsOf(op, tile);
    std::vector<DramSpan> spans;
    for (int64_t channel = 0; channel < (pixels.rows ? channels : 0); ++channel) {
      const int64_t first = (first_channel + channel) * image + pixels.first;
      spans.push_back(
          SpanOf(op.arg, {At(op.src) + first, pixels.rows, op.width, pixels.cols, 1, 1}));
    }
    return spans;
  });
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
  return Transfer(bytes, false, [&, count = bytes] {
    return std::vector<DramSpan>{{panel_places_[panel], 1, 0, 1, 0, count}};
  });
}

}  // namespace microscopiq
