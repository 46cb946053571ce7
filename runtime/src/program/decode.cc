// Bytes to instructions, and every check that needs no run.
#include <algorithm>
#include <limits>
#include <optional>
#include <sstream>

#include "program/byte_reader.h"
#include "program/program.h"

namespace microscopiq {
namespace {

// With at most 2^28 iterations of a loop no affine operand of these bases leaves 64 bits.
constexpr int64_t kMaxBase = int64_t{1} << 60;
static_assert(kMaxDynamicInstructions <= uint64_t{1} << 28);

// What follows a function's sizes, as decoding gets to it.
class Sized {
 public:
  Sized(const Sizes* sizes, const std::vector<int64_t>& values, bool same)
      : values_(values), same_(same) {
    if (sizes) operands_ = &sizes->operands;
  }

  // Sets a number of the instruction that is decoded, if it is one of these.
  template <typename T>
  void Set(int operand, int place, T* number) {
    if (!Here(operand, place)) return;
    const uint32_t index = (*operands_)[next_++].value;
    if (same_) CheckStored(index, values_, *number);
    const int64_t value = values_[index];
    if (value < std::numeric_limits<T>::min() ||
        (value > 0 && static_cast<uint64_t>(value) > uint64_t{std::numeric_limits<T>::max()})) {
      Fail(kIsaError, "operand ", operand + 1, ": ", value, " doesn't fit its ", 8 * sizeof(T),
           " bits");
    }
    *number = static_cast<T>(value);
  }

  // Ends an instruction.
  void Next() {
    if (operands_ && next_ < operands_->size() && (*operands_)[next_].instruction == instruction_) {
      Fail(kIsaError, "operand ", (*operands_)[next_].operand, ", place ",
           (*operands_)[next_].place, " follows no size, or twice");
    }
    ++instruction_;
  }
  void Finish() const {
    if (operands_ && next_ < operands_->size()) {
      Fail(kIsaError, "value for instruction ", (*operands_)[next_].instruction,
           "; allowed: those that there are, in order");
    }
  }

 private:
  bool Here(int operand, int place) const {
    if (!operands_ || next_ == operands_->size()) return false;
    const SizedOperand& wanted = (*operands_)[next_];
    return wanted.instruction == instruction_ && wanted.operand == static_cast<uint32_t>(operand) &&
           wanted.place == static_cast<uint32_t>(place);
  }

  const std::vector<SizedOperand>* operands_ = nullptr;
  const std::vector<int64_t>& values_;
  bool same_;
  size_t next_ = 0;
  uint32_t instruction_ = 0;
};

// The reader that the generated `Read` methods call, one call per operand.
class OperandReader {
 public:
  OperandReader(ByteReader* bytes, int depth, size_t arguments, Sized* sized)
      : bytes_(bytes), depth_(depth), arguments_(arguments), sized_(sized) {}

  void u8(uint8_t* value) { Get(value); }
  void u16(uint16_t* value) { Follow(value); }
  void u32(uint32_t* value) { Follow(value); }
  void i32(int32_t* value) { Follow(value); }
  void i64(int64_t* value) { Follow(value); }
  void f32(float* value) {
    Get(value);
    // Its bits needn't survive a reader of numbers.
    if (*value != *value) Fail(kIsaError, "operand ", operand_, " is NaN; allowed: numbers");
  }
  void extent(uint8_t* value) { Below(value, 0, kExtentRegisters, "extent register"); }
  void mem(uint8_t* value) { Below(value, 0, std::size(kMemNames), "memory"); }
  void unit(uint8_t* value) { Below(value, 1, std::size(kUnitNames), "unit"); }
  void argument(uint8_t* value) {
    Get(value);
    if (*value >= arguments_) {
      Fail(kIsaError, "argument ", int{*value}, "; the function has ", arguments_);
    }
  }

  void affine(Affine* value) {
    const int operand = operand_++;
    value->base = bytes_->Number<int64_t>();
    for (int32_t& stride : value->strides) stride = bytes_->Number<int32_t>();
    for (uint8_t& turn : value->turns) turn = bytes_->Number<uint8_t>();
    value->slots = bytes_->Number<uint8_t>();
    uint8_t padding = bytes_->Number<uint8_t>();
    value->slot_step = bytes_->Number<uint32_t>();
    if (padding) Fail(kIsaError, "operand ", operand_, ": padding isn't zero");
    sized_->Set(operand, 0, &value->base);
    for (int level = 0; level < kLoopDepth; ++level) {
      sized_->Set(operand, 1 + level, &value->strides[level]);
    }
    for (int level = 0; level < kLoopDepth; ++level) {
      sized_->Set(operand, 1 + kLoopDepth + level, &value->turns[level]);
    }
    if (value->base < -kMaxBase || value->base > kMaxBase) {
      Fail(kIsaError, "operand ", operand_, ": base ", Hex{value->base}, "; allowed up to 2^60");
    }
    for (int level = depth_; level < kLoopDepth; ++level) {
      if (value->strides[level] || value->turns[level]) {
        Fail(kIsaError, "operand ", operand_, " follows loop level ", level, "; ", depth_,
             " loops are open here");
      }
    }
  }

 private:
  template <typename T>
  void Get(T* value) {
    *value = bytes_->Number<T>();
    ++operand_;
  }
  template <typename T>
  void Follow(T* value) {
    const int operand = operand_;
    Get(value);
    sized_->Set(operand, 0, value);
  }
  void Below(uint8_t* value, int low, int end, const char* what) {
    Get(value);
    if (*value < low || *value >= end) {
      Fail(kIsaError, what, " ", int{*value}, "; allowed: ", low, "..", end - 1);
    }
  }

  ByteReader* bytes_;
  int depth_;
  size_t arguments_;  // of the function
  Sized* sized_;
  int operand_ = 0;
};

template <typename T>
Operation DecodeAs(const uint8_t* bytes, uint64_t size, int depth, size_t arguments, Sized* sized) {
  if (size != T::kBytes) Fail(kIsaError, "says ", size, " bytes; it has ", T::kBytes);
  ByteReader reader(bytes, size);
  reader.Raw(4);
  OperandReader operands(&reader, depth, arguments, sized);
  T op;
  op.Read(&operands);
  while (reader.left()) {
    if (reader.Number<uint8_t>()) Fail(kIsaError, "padding isn't zero");
  }
  op.Check([](const char* operand, int64_t value, const char* allowed) {
    Fail(kIsaError, operand, " ", value, "; allowed: ", allowed);
  });
  return op;
}

Operation DecodeOne(const uint8_t* bytes, uint64_t left, int depth, size_t arguments, Sized* sized,
                    uint64_t* size) {
  if (left < 4) Fail(kIsaError, "truncated instruction: ", left, " bytes left");
  uint16_t opcode, length;
  std::memcpy(&opcode, bytes, 2);
  std::memcpy(&length, bytes + 2, 2);
  *size = length;
  const char* mnemonic = nullptr;
  try {
    switch (opcode) {
#define MICROSCOPIQ_DECODE(Type)                                            \
  case Type::kOpcode:                                                       \
    mnemonic = Type::kMnemonic;                                             \
    if (length > left) Fail(kIsaError, "truncated: ", left, " bytes left"); \
    return DecodeAs<Type>(bytes, length, depth, arguments, sized);
      MICROSCOPIQ_INSTRUCTIONS(MICROSCOPIQ_DECODE)
#undef MICROSCOPIQ_DECODE
    }
  } catch (const Error& error) {
    Fail(error.kind(), mnemonic, ": ", error.message());
  }
  Fail(kIsaError, "unknown opcode ", Hex{opcode});
}

// Tracks open loops while decoding; counts the instructions a run executes, saturating.
class LoopMatcher {
 public:
  int depth() const { return static_cast<int>(open_.size()); }

  void Visit(std::vector<Instruction>* code) {
    uint32_t index = static_cast<uint32_t>(code->size() - 1);
    Instruction& instruction = code->back();
    Count(1);
    if (const Loop* loop = std::get_if<Loop>(&instruction.operation)) {
      if (depth() == kLoopDepth) Fail(kIsaError, "loop: deeper than ", kLoopDepth, " levels");
      open_.push_back({index, loop->count, 0});
    } else if (std::holds_alternative<EndLoop>(instruction.operation)) {
      if (open_.empty()) Fail(kIsaError, "endloop: no loop is open");
      Open inner = open_.back();
      open_.pop_back();
      instruction.partner = inner.index;
      (*code)[inner.index].partner = index;
      Count(inner.body * inner.count);
    } else if (std::holds_alternative<Break>(instruction.operation) && open_.empty()) {
      Fail(kIsaError, "break: no loop is open");
    }
  }

  void Finish() const {
    if (!open_.empty()) Fail(kIsaError, "loop without endloop");
    if (total_ > kMaxDynamicInstructions) {
      Fail(kIsaError, "the loops run more than ", kMaxDynamicInstructions, " instructions");
    }
  }

 private:
  struct Open {
    uint32_t index;
    uint64_t count;
    uint64_t body;
  };
  void Count(uint64_t instructions) {
    uint64_t& sum = open_.empty() ? total_ : open_.back().body;
    sum = std::min(sum + std::min(instructions, kLimit), kLimit);
  }

  // Times a 32-bit loop count it still fits 64 bits.
  static constexpr uint64_t kLimit = kMaxDynamicInstructions + 1;
  std::vector<Open> open_;
  uint64_t total_ = 0;
};

}  // namespace

std::vector<Instruction> DecodeCode(const uint8_t* code, uint64_t length, size_t arguments,
                                    const Sizes* sizes, const std::vector<int64_t>& values,
                                    bool same) {
  if (length > UINT32_MAX) Fail(kIsaError, "code of ", length, " bytes; allowed below 2^32");
  std::vector<Instruction> decoded;
  LoopMatcher loops;
  Sized sized(sizes, values, same);
  for (uint64_t pc = 0; pc < length;) {
    uint64_t size = 0;
    try {
      Instruction instruction;
      instruction.pc = static_cast<uint32_t>(pc);
      instruction.operation =
          DecodeOne(code + pc, length - pc, loops.depth(), arguments, &sized, &size);
      sized.Next();
      decoded.push_back(std::move(instruction));
      loops.Visit(&decoded);
    } catch (const Error& error) {
      Fail(error.kind(), "pc ", Hex{static_cast<int64_t>(pc)}, ": ", error.message());
    }
    pc += size;
  }
  loops.Finish();
  sized.Finish();
  return decoded;
}

}  // namespace microscopiq
