// The vector unit: scaling to fp32, element-wise work, quantization.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "errors.h"
#include "machine/machine.h"

namespace microscopiq {
namespace {

// 2^exponent, exact; `what` names the operand in the error.
float PowerOfTwo(int exponent, const Memory& memory, int64_t address, const char* what) {
  if (exponent < kExponentMin) {
    Fail(kSimError, memory.name(), " address ", Hex{address}, ": ", what, " exponent ", exponent,
         "; allowed: ", kExponentMin, " to ", kExponentMax);
  }
  return std::ldexp(1.0f, exponent);
}

float* Floats(uint8_t* bytes) { return reinterpret_cast<float*>(bytes); }
const float* Floats(const uint8_t* bytes) { return reinterpret_cast<const float*>(bytes); }

[[noreturn]] void FailNonFinite(const Memory& memory, int64_t row_address, const float* in,
                                int64_t cols) {
  int64_t col = 0;
  while (col + 1 < cols && std::isfinite(in[col])) ++col;
  Fail(kSimError, "non-finite activation ", in[col], ", ", memory.name(), " address ",
       Hex{row_address + 4 * col}, "; allowed: finite values");
}

}  // namespace

Work Machine::VectorWork(int64_t rows, int64_t cols) {
  record_.vector_ops += rows * cols;
  const int64_t lanes = arch_.vector_lanes;
  Work work;
  // Lanes take a tile's elements in row-major order: short rows share a cycle.
  work.busy = lanes ? (rows * cols + lanes - 1) / lanes : 0;
  work.latency = arch_.vector_latency_cycles;
  return work;
}

void Machine::ReadWeightScales(const Drain& op, int64_t cols) {
  scales_.resize(cols);
  const int64_t address = At(op.wscale);
  if (op.format == kRowsInt8) {
    const uint8_t* exponents = wbuf().Read({address, op.wscale_pitch, cols, 1});
    for (int64_t col = 0; col < cols && values_; ++col) {
      const int64_t offset = col * op.wscale_pitch;
      scales_[col] =
          PowerOfTwo(static_cast<int8_t>(exponents[offset]), wbuf(), address + offset, "weight");
    }
    return;
  }
  const Panel panel = ReadPanel(wbuf(), address, op.format);
  if (cols > panel.cols) {
    Fail(kSimError, cols, " columns; the panel at ", Hex{address}, " has ", panel.cols);
  }
  wbuf().CountRead(kPanelHeaderBytes);
  if (panel.format->pow2) {
    std::fill(scales_.begin(), scales_.end(), panel.weight_scale());
    return;
  }
  const uint8_t* halves = wbuf().Read({panel.tail(), 0, 1, 2 * cols});
  for (int64_t col = 0; col < cols && values_; ++col) {
    uint16_t half;
    std::memcpy(&half, halves + 2 * col, sizeof(half));
    scales_[col] = HalfToFloat(half);
  }
}

Machine::Outcome Machine::Execute(const Drain& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) return std::nullopt;
  const bool accumulate = At(op.accumulate) != 0;
  // Before anything is sized by `cols`: the box bounds it by the memory.
  const uint8_t* psums = acc().Read({At(op.src), op.src_pitch, rows, cols * 4, 4});
  const Box result{At(op.dst), op.dst_pitch, rows, cols * 4, 4};
  if (accumulate) obuf().Read(result);
  uint8_t* out = obuf().Write(result);
  const int64_t xexp = At(op.xexp);
  const uint8_t* exponents = spad().Read({xexp, op.xexp_pitch, rows, 1});
  ReadWeightScales(op, cols);
  if (!values_) return VectorWork(rows, cols);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t offset = row * op.xexp_pitch;
    const float scale =
        PowerOfTwo(static_cast<int8_t>(exponents[offset]), spad(), xexp + offset, "activation");
    ActiveKernels().drain(reinterpret_cast<const int32_t*>(psums + row * op.src_pitch),
                          scales_.data(), scale, accumulate, cols,
                          Floats(out + row * op.dst_pitch));
  }
  return VectorWork(rows, cols);
}

Machine::Outcome Machine::Execute(const Add& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) return std::nullopt;
  const uint8_t* in = obuf().Read({At(op.src), op.src_pitch, rows, cols * 4, 4});
  const Box result{At(op.dst), op.dst_pitch, rows, cols * 4, 4};
  obuf().Read(result);
  uint8_t* out = obuf().Write(result);
  if (!values_) return VectorWork(rows, cols);
  for (int64_t row = 0; row < rows; ++row) {
    ActiveKernels().add(Floats(in + row * op.src_pitch), cols, Floats(out + row * op.dst_pitch));
  }
  return VectorWork(rows, cols);
}

Machine::Outcome Machine::Execute(const Clamp& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) return std::nullopt;
  const Box box{At(op.dst), op.dst_pitch, rows, cols * 4, 4};
  obuf().Read(box);
  uint8_t* out = obuf().Write(box);
  if (!values_) return VectorWork(rows, cols);
  for (int64_t row = 0; row < rows; ++row) {
    ActiveKernels().clamp(op.low, op.high, cols, Floats(out + row * op.dst_pitch));
  }
  return VectorWork(rows, cols);
}

Machine::Outcome Machine::Execute(const Absmax& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) return std::nullopt;
  const bool accumulate = At(op.accumulate) != 0;
  if (rows > 1 && op.src_pitch < cols * 4) {
    Fail(kSimError, "rows of ", cols * 4, " bytes are read ", op.src_pitch,
         " bytes apart; allowed: at least their length");
  }
  const int64_t address = At(op.src);
  const uint8_t* in = obuf().Read({address, op.src_pitch, rows, cols * 4, 4});
  const Box exponents{At(op.dst), op.dst_pitch, op.dst_pitch ? rows : 1, 1};
  if (accumulate) spad().Read(exponents);
  uint8_t* out = spad().Write(exponents);
  if (!values_) return VectorWork(rows, cols);
  for (int64_t row = 0; row < rows; ++row) {
    const float* values = Floats(in + row * op.src_pitch);
    const int biased = ActiveKernels().max_exponent(values, cols);
    if (biased == 255) FailNonFinite(obuf(), address + row * op.src_pitch, values, cols);
    // The magnitude's top bit is the one below a code's sign.
    const int top_bit = op.bits - 2;
    int exponent = std::max(std::max(biased - 127, kExponentMin) - top_bit, kExponentMin);
    uint8_t* slot = out + row * op.dst_pitch;
    const bool keep = accumulate || (op.dst_pitch == 0 && row > 0);
    if (keep) exponent = std::max<int>(exponent, static_cast<int8_t>(*slot));
    *slot = static_cast<uint8_t>(exponent);
  }
  return VectorWork(rows, cols);
}

Machine::Outcome Machine::Execute(const Quant& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) return std::nullopt;
  const int64_t address = At(op.src), exponent = At(op.exponent);
  const uint8_t* in = obuf().Read({address, op.src_pitch, rows, cols * 4, 4});
  const uint8_t* exponents = spad().Read({exponent, op.exponent_pitch, rows, 1});
  uint8_t* out = spad().Write({At(op.dst), op.dst_pitch, rows, cols});
  if (!values_) return VectorWork(rows, cols);
  const float limit = static_cast<float>((1 << (op.bits - 1)) - 1);
  for (int64_t row = 0; row < rows; ++row) {
    const float* values = Floats(in + row * op.src_pitch);
    if (ActiveKernels().max_exponent(values, cols) == 255) {
      FailNonFinite(obuf(), address + row * op.src_pitch, values, cols);
    }
    const int64_t offset = row * op.exponent_pitch;
    const int s = static_cast<int8_t>(exponents[offset]);
    PowerOfTwo(s, spad(), exponent + offset, "activation");
    ActiveKernels().quantize(values, std::ldexp(1.0f, -s), limit, cols,
                             reinterpret_cast<int8_t*>(out + row * op.dst_pitch));
  }
  return VectorWork(rows, cols);
}

}  // namespace microscopiq
