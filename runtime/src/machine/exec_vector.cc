// The vector unit: scaling to fp32, element-wise work, quantization.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "errors.h"
#include "machine/machine.h"

namespace microscopiq {
namespace {

// The rows of an operand: those of a column of numbers have one element each.
template <typename T>
class Rows {
 public:
  Rows(const Memory& memory, int64_t base, int64_t pitch, T* data)
      : memory_(&memory), base_(base), pitch_(pitch), data_(data) {}

  const Memory& memory() const { return *memory_; }
  int64_t address(int64_t row) const { return base_ + row * pitch_; }
  T* operator[](int64_t row) const {
    using Byte = std::conditional_t<std::is_const_v<T>, const uint8_t, uint8_t>;
    return reinterpret_cast<T*>(reinterpret_cast<Byte*>(data_) + row * pitch_);
  }

 private:
  const Memory* memory_;
  int64_t base_;
  int64_t pitch_;
  T* data_;
};

// 2^exponent of a row, or of some columns of it, exact; `what` names the operand in the error.
float PowerOfTwo(const Rows<const int8_t>& exponents, int64_t row, const char* what,
                 int64_t col = 0) {
  const int exponent = exponents[row][col];
  if (exponent < kExponentMin) {
    const int64_t address = exponents.address(row) + col;
    Fail(kSimError, exponents.memory().name(), " address ", Hex{address}, ": ", what, " exponent ",
         exponent, "; allowed: ", kExponentMin, " to ", kExponentMax);
  }
  return std::ldexp(1.0f, exponent);
}

// The largest biased exponent of a row of finite numbers.
int MaxExponent(const Rows<const float>& in, int64_t row, int64_t cols) {
  const int biased = ActiveKernels().MaxExponent(in[row], cols);
  if (biased < 255) return biased;
  int64_t col = 0;
  while (col + 1 < cols && std::isfinite(in[row][col])) ++col;
  Fail(kSimError, "non-finite activation ", in[row][col], ", ", in.memory().name(), " address ",
       Hex{in.address(row) + 4 * col}, "; allowed: finite values");
}

// One of a map's operands, with a word for each column.
class Spread {
 public:
  Spread(const Rows<const uint32_t>& rows, bool one_per_row, int64_t cols)
      : rows_(rows), row_(one_per_row ? cols : 0) {}

  const uint32_t* operator[](int64_t row) {
    if (row_.empty()) return rows_[row];
    if (rows_.address(row) != filled_) std::fill(row_.begin(), row_.end(), *rows_[row]);
    filled_ = rows_.address(row);
    return row_.data();
  }

 private:
  Rows<const uint32_t> rows_;
  std::vector<uint32_t> row_;
  int64_t filled_ = -1;
};

// Ends the run: operands that an operation has no result for.
[[noreturn]] void FailMap(const Map& op, int64_t address, const std::vector<uint32_t>& operands) {
  std::string given;
  for (const uint32_t operand : operands) {
    given += (given.empty() ? "" : " and ") + std::to_string(static_cast<int32_t>(operand));
  }
  Fail(kSimError, "obuf address ", Hex{address}, ": ", kMapOperationNames[op.operation], " of ",
       given, " ", kMapOperationRefused[op.operation]);
}

}  // namespace

// An instruction of the vector unit: it names its operands in the order in which they are checked,
// and says what becomes of a row.
class Machine::VectorOp {
 public:
  template <typename Op>
  VectorOp(Machine* machine, const Op& op)
      : machine_(*machine), rows_(machine->Extent(op.rows)), cols_(machine->Extent(op.cols)) {}

  // True if an extent is 0: then no operand is touched.
  bool empty() const { return rows_ == 0 || cols_ == 0; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

  // `cols` elements of each row.
  template <typename T>
  Rows<const T> Read(Mem mem, const Affine& at, int64_t pitch) {
    return Read<T>(mem, BoxOf<T>(at, pitch, rows_, cols_));
  }
  template <typename T>
  Rows<T> Write(Mem mem, const Affine& at, int64_t pitch) {
    return Update<T>(mem, at, pitch, false);
  }
  // What is written, and read before it if `read`.
  template <typename T>
  Rows<T> Update(Mem mem, const Affine& at, int64_t pitch, bool read = true) {
    return Update<T>(mem, BoxOf<T>(at, pitch, rows_, cols_), read);
  }
  // One element of each row; a pitch of 0 gives all rows the same.
  template <typename T>
  Rows<const T> ReadColumn(Mem mem, const Affine& at, int64_t pitch) {
    return Read<T>(mem, BoxOf<T>(at, pitch, rows_, 1));
  }
  // One element for every so many columns of each row, in order; 0 for one element of all.
  template <typename T>
  Rows<const T> ReadShared(Mem mem, const Affine& at, int64_t pitch, int64_t shared) {
    return Read<T>(mem, BoxOf<T>(at, pitch, rows_, shared ? (cols_ + shared - 1) / shared : 1));
  }
  // So many elements of each row, which are read before they are written if `read`.
  template <typename T>
  Rows<T> UpdateShort(Mem mem, const Affine& at, int64_t pitch, int64_t count, bool read) {
    return Update<T>(mem, BoxOf<T>(at, pitch, rows_, count), read);
  }
  template <typename T>
  Rows<T> UpdateColumn(Mem mem, const Affine& at, int64_t pitch, bool read) {
    return Update<T>(mem, BoxOf<T>(at, pitch, pitch ? rows_ : 1, 1), read);
  }

  // Calls `row(r)` for every row, in runs with values; what that costs at so many cycles of a lane.
  template <typename Row>
  Outcome Each(Row row, int64_t cycles = 1) {
    if (empty()) return std::nullopt;
    for (int64_t r = 0; r < rows_ && machine_.values_; ++r) row(r);
    machine_.record_.vector_ops += rows_ * cols_ * cycles;
    const int64_t lanes = machine_.arch_.vector_lanes;
    Work work;
    // Lanes take a tile's elements in row-major order: short rows share a cycle.
    work.busy = lanes ? (rows_ * cols_ * cycles + lanes - 1) / lanes : 0;
    work.latency = machine_.arch_.vector_latency_cycles;
    return work;
  }

 private:
  template <typename T>
  Box BoxOf(const Affine& at, int64_t pitch, int64_t rows, int64_t cols) const {
    constexpr int kBytes = sizeof(T);
    return {machine_.At(at), pitch, rows, cols * kBytes, kBytes};
  }
  template <typename T>
  Rows<const T> Read(Mem mem, const Box& box) {
    Memory& memory = machine_.memory(mem);
    const uint8_t* data = empty() ? nullptr : memory.Read(box);
    return {memory, box.base, box.pitch, reinterpret_cast<const T*>(data)};
  }
  template <typename T>
  Rows<T> Update(Mem mem, const Box& box, bool read) {
    Memory& memory = machine_.memory(mem);
    if (read && !empty()) memory.Read(box);
    uint8_t* data = empty() ? nullptr : memory.Write(box);
    return {memory, box.base, box.pitch, reinterpret_cast<T*>(data)};
  }

  Machine& machine_;
  const int64_t rows_;
  const int64_t cols_;
};

void Machine::ReadWeightScales(const Drain& op, int64_t cols) {
  scales_.resize(cols);
  const int64_t address = At(op.wscale);
  if (op.format == kRowsInt8) {
    const uint8_t* data = wbuf().Read({address, op.wscale_pitch, cols, 1});
    const Rows<const int8_t> exponents(wbuf(), address, op.wscale_pitch,
                                       reinterpret_cast<const int8_t*>(data));
    for (int64_t col = 0; col < cols && values_; ++col) {
      scales_[col] = PowerOfTwo(exponents, col, "weight");
    }
    return;
  }
  const Panel panel = ReadPanel(wbuf(), address, op.format);
  if (cols > panel.cols) {
    Fail(kSimError, cols, " columns; the panel at ", Hex{address}, " has ", panel.cols);
  }
  wbuf().CountRead(kPanelHeaderBytes);
  const int64_t stored = panel.factor_bytes() + panel.scale_bytes() * cols;
  const uint8_t* data = stored ? wbuf().Read({panel.tail(), 0, 1, stored}) : nullptr;
  if (values_ || !stored) ColumnScales(panel, data, cols, scales_.data());
}

Machine::Outcome Machine::Execute(const Drain& op) {
  VectorOp v(this, op);
  const bool accumulate = At(op.accumulate) != 0;
  // Before anything is sized by `cols`: the box bounds it by the memory.
  const auto sums = v.Read<int32_t>(Mem::kAcc, op.src, op.src_pitch);
  const auto out = v.Update<float>(Mem::kObuf, op.dst, op.dst_pitch, accumulate);
  const auto exponents = v.ReadShared<int8_t>(Mem::kSpad, op.xexp, op.xexp_pitch, op.xexp_cols);
  if (!v.empty()) ReadWeightScales(op, v.cols());
  const int64_t shared = op.xexp_cols ? op.xexp_cols : v.cols();
  return v.Each([&](int64_t row) {
    for (int64_t col = 0; col < v.cols(); col += shared) {
      const float scale = PowerOfTwo(exponents, row, "activation", col / shared);
      ActiveKernels().Drain(sums[row] + col, scales_.data() + col, scale, accumulate,
                            std::min(shared, v.cols() - col), out[row] + col);
    }
  });
}

Machine::Outcome Machine::Execute(const DrainInt& op) {
  VectorOp v(this, op);
  const bool accumulate = At(op.accumulate) != 0;
  const auto sums = v.Read<int32_t>(Mem::kAcc, op.src, op.src_pitch);
  const auto out = v.Update<int32_t>(Mem::kObuf, op.dst, op.dst_pitch, accumulate);
  return v.Each([&](int64_t row) {
    if (accumulate) {
      ActiveKernels().Map(MapOperation::kIntAdd, out[row], sums[row], nullptr, v.cols(), out[row]);
    } else {
      std::copy_n(sums[row], v.cols(), out[row]);
    }
  });
}

Machine::Outcome Machine::Execute(const Add& op) {
  VectorOp v(this, op);
  const auto in = v.Read<float>(Mem::kObuf, op.src, op.src_pitch);
  const auto out = v.Update<float>(Mem::kObuf, op.dst, op.dst_pitch);
  return v.Each([&](int64_t row) { ActiveKernels().Add(in[row], v.cols(), out[row]); });
}

Machine::Outcome Machine::Execute(const Clamp& op) {
  VectorOp v(this, op);
  const auto out = v.Update<float>(Mem::kObuf, op.dst, op.dst_pitch);
  return v.Each([&](int64_t row) { ActiveKernels().Clamp(op.low, op.high, v.cols(), out[row]); });
}

Machine::Outcome Machine::Execute(const Absmax& op) {
  VectorOp v(this, op);
  const bool accumulate = At(op.accumulate) != 0;
  if (v.rows() > 1 && op.src_pitch < v.cols() * 4) {
    Fail(kSimError, "rows of ", v.cols() * 4, " bytes are read ", op.src_pitch,
         " bytes apart; allowed: at least their length");
  }
  const auto in = v.Read<float>(Mem::kObuf, op.src, op.src_pitch);
  const auto out = v.UpdateColumn<int8_t>(Mem::kSpad, op.dst, op.dst_pitch, accumulate);
  return v.Each([&](int64_t row) {
    // The magnitude's top bit is the one below a code's sign.
    const int top_bit = op.bits - 2;
    int exponent = std::max(MaxExponent(in, row, v.cols()) - 127, kExponentMin) - top_bit;
    exponent = std::max(exponent, kExponentMin);
    const bool keep = accumulate || (op.dst_pitch == 0 && row > 0);
    if (keep) exponent = std::max<int>(exponent, *out[row]);
    *out[row] = static_cast<int8_t>(exponent);
  });
}

Machine::Outcome Machine::Execute(const Quant& op) {
  VectorOp v(this, op);
  const auto in = v.Read<float>(Mem::kObuf, op.src, op.src_pitch);
  const auto exponents = v.ReadColumn<int8_t>(Mem::kSpad, op.exponent, op.exponent_pitch);
  const auto out = v.Write<int8_t>(Mem::kSpad, op.dst, op.dst_pitch);
  const float limit = static_cast<float>((1 << (op.bits - 1)) - 1);
  return v.Each([&](int64_t row) {
    MaxExponent(in, row, v.cols());
    PowerOfTwo(exponents, row, "activation");
    const float factor = std::ldexp(1.0f, -*exponents[row]);
    ActiveKernels().Quantize(in[row], factor, limit, v.cols(), out[row]);
  });
}

int64_t Machine::LaneCycles(int operation_class) const {
  switch (static_cast<OperationClass>(operation_class)) {
    case OperationClass::kSimple:
      return 1;
    case OperationClass::kDivide:
      return arch_.vector_divide_cycles;
    case OperationClass::kFunction:
      return arch_.vector_function_cycles;
  }
  return 1;
}

Machine::Outcome Machine::Execute(const Fill& op) {
  VectorOp v(this, op);
  const auto out = v.Write<float>(Mem::kObuf, op.dst, op.dst_pitch);
  return v.Each([&](int64_t row) { std::fill_n(out[row], v.cols(), op.value); });
}

Machine::Outcome Machine::Execute(const FillInt& op) {
  VectorOp v(this, op);
  const auto out = v.Write<int32_t>(Mem::kObuf, op.dst, op.dst_pitch);
  return v.Each([&](int64_t row) { std::fill_n(out[row], v.cols(), op.value); });
}

Machine::Outcome Machine::Execute(const Map& op) {
  VectorOp v(this, op);
  const int count = kMapOperationOperands[op.operation];
  const auto operand = [&](int number, const Affine& at, int64_t pitch, int step) {
    if (number < count && step) return Spread(v.Read<uint32_t>(Mem::kObuf, at, pitch), false, 0);
    if (number < count) {
      return Spread(v.ReadColumn<uint32_t>(Mem::kObuf, at, pitch), true, v.empty() ? 0 : v.cols());
    }
    if (pitch || step) Fail(kSimError, "operand ", number, " of an operation that has ", count);
    return Spread({memory(Mem::kObuf), 0, 0, nullptr}, false, 0);
  };
  const auto apart = [&](int number, const Affine& at, int64_t pitch, int step) {
    if (number >= count || v.empty()) return;
    const int64_t first = At(at), dst = At(op.dst);
    const bool same =
        first == dst && (v.rows() == 1 || pitch == op.dst_pitch) && (v.cols() == 1 || step == 4);
    const int64_t end = first + pitch * (v.rows() - 1) + step * (v.cols() - 1) + 4;
    const int64_t dst_end = dst + int64_t{op.dst_pitch} * (v.rows() - 1) + 4 * v.cols();
    if (!same && first < dst_end && dst < end) {
      Fail(kSimError, "operand ", number, " at ", Hex{first}, " overlaps the result at ", Hex{dst},
           "; allowed: the same place, or apart");
    }
  };
  Spread a = operand(0, op.a, op.a_pitch, op.a_step);
  Spread b = operand(1, op.b, op.b_pitch, op.b_step);
  Spread c = operand(2, op.c, op.c_pitch, op.c_step);
  const auto out = v.Write<uint32_t>(Mem::kObuf, op.dst, op.dst_pitch);
  apart(0, op.a, op.a_pitch, op.a_step);
  apart(1, op.b, op.b_pitch, op.b_step);
  apart(2, op.c, op.c_pitch, op.c_step);
  const auto operation = static_cast<MapOperation>(op.operation);
  const int function = kMapOperationFunction[op.operation];
  return v.Each(
      [&](int64_t row) {
        const uint32_t* first = a[row];
        const uint32_t* second = count > 1 ? b[row] : first;
        if (function >= 0) {
          return ActiveKernels().functions[function](first, second, v.cols(), out[row]);
        }
        const uint32_t* third = count > 2 ? c[row] : first;
        const int64_t col =
            ActiveKernels().Map(operation, first, second, third, v.cols(), out[row]);
        if (col == v.cols()) return;
        std::vector<uint32_t> operands{first[col], second[col]};
        if (count > 2) operands.push_back(third[col]);
        if (operation == MapOperation::kIndex) FailIndex(operands);
        FailMap(op, out.address(row) + 4 * col, operands);
      },
      LaneCycles(kMapOperationClass[op.operation]));
}

Machine::Outcome Machine::Execute(const Reduce& op) {
  VectorOp v(this, op);
  const auto in = v.Read<uint32_t>(Mem::kObuf, op.src, op.src_pitch);
  const auto out = v.UpdateColumn<uint32_t>(Mem::kObuf, op.dst, op.dst_pitch, false);
  const int64_t first = At(op.src), dst = At(op.dst);
  const int64_t end = first + int64_t{op.src_pitch} * (v.rows() - 1) + 4 * v.cols();
  const int64_t dst_end = dst + int64_t{op.dst_pitch} * (v.rows() - 1) + 4;
  if (!v.empty() && first < dst_end && dst < end) {
    Fail(kSimError, "the results at ", Hex{dst}, " lie in the rows at ", Hex{first},
         "; allowed: apart from them");
  }
  const auto operation = static_cast<Reduction>(op.operation);
  return v.Each(
      [&](int64_t row) { ActiveKernels().Reduce(operation, in[row], v.cols(), out[row]); },
      LaneCycles(kReductionClass[op.operation]));
}

Machine::Outcome Machine::Execute(const ReducePart& op) {
  VectorOp v(this, op);
  const bool fresh = At(op.accumulate) == 0;
  const auto in = v.Read<uint32_t>(Mem::kObuf, op.src, op.src_pitch);
  const auto out = v.UpdateShort<uint32_t>(Mem::kObuf, op.dst, op.dst_pitch, kPartials, !fresh);
  const int64_t first = At(op.src), dst = At(op.dst);
  const int64_t end = first + int64_t{op.src_pitch} * (v.rows() - 1) + 4 * v.cols();
  const int64_t dst_end = dst + int64_t{op.dst_pitch} * (v.rows() - 1) + 4 * kPartials;
  if (!v.empty() && first < dst_end && dst < end) {
    Fail(kSimError, "the results at ", Hex{dst}, " lie in the rows at ", Hex{first},
         "; allowed: apart from them");
  }
  if (v.rows() > 1 && op.dst_pitch < 4 * kPartials) {
    Fail(kSimError, "results ", op.dst_pitch, " bytes apart; allowed: at least ", 4 * kPartials);
  }
  const auto operation = static_cast<Reduction>(op.operation);
  return v.Each(
      [&](int64_t row) {
        ActiveKernels().ReducePart(operation, in[row], v.cols(), fresh, out[row]);
      },
      LaneCycles(kReductionClass[op.operation]));
}

}  // namespace microscopiq
