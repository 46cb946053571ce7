// A program as the simulator runs it: checked, decoded, loops matched.
#pragma once
#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "isa.gen.h"
#include "program/sizes.h"

namespace microscopiq {

#define MICROSCOPIQ_VARIANT(Type) , Type
using Operation = std::variant<std::monostate MICROSCOPIQ_INSTRUCTIONS(MICROSCOPIQ_VARIANT)>;
#undef MICROSCOPIQ_VARIANT

struct Instruction {
  uint32_t pc = 0;       // byte offset in the function's code
  uint32_t partner = 0;  // index of the matching loop or endloop
  Operation operation;
};

struct Argument {
  std::string name;
  uint8_t dtype = 0;
  bool is_output = false;
  std::vector<int64_t> shape;
  int64_t bytes = 0;
};

struct PanelBytes {
  const uint8_t* data;
  int64_t count;
};

// A packed weight segment; what stands before its panels was checked when the program was loaded.
struct WeightSegment {
  const uint8_t* data = nullptr;  // points into the program's blob
  uint64_t length = 0;
  uint32_t panels = 0;
  // Of weights that nobody has: each panel names one of a few templates (target/segment.py).
  bool shape_only = false;
  const uint8_t* offsets = nullptr;    // u32, of the panels or the templates, and the end
  const uint8_t* templates = nullptr;  // u16 by panel, where the segment is shape-only

  PanelBytes panel(int64_t number) const;
};

// Instructions of one operator in a function of several: up to where the next part starts.
struct Part {
  std::string name;
  std::string layer;
  uint64_t macs = 0;
  uint32_t first = 0;  // index of its first instruction
};

struct Function {
  std::string name;
  std::string layer;
  uint64_t macs = 0;
  std::vector<Argument> arguments;
  std::vector<Instruction> code;
  WeightSegment weights;
  std::vector<Part> parts;  // none of a function of one operator
  Sizes sizes;
  const uint8_t* bytes = nullptr;  // of the code, in the program's blob
  uint64_t length = 0;
};

struct Program {
  std::string arch_name;
  std::string arch_hash;
  ArchNumbers arch;
  std::map<std::string, Function> functions;
};

// An operand at the counters of the open loops, outermost first. Can't overflow: bases and the
// instructions of a run are limited when a program is loaded.
inline int64_t ValueAt(const Affine& affine, const int64_t* counters, int depth) {
  int64_t value = affine.base;
  for (int level = 0; level < depth; ++level) value += affine.strides[level] * counters[level];
  if (affine.slots > 1) {
    int64_t turn = 0;
    for (int level = 0; level < depth; ++level) turn += affine.turns[level] * counters[level];
    value += static_cast<int64_t>(affine.slot_step) * (turn % affine.slots);
  }
  return value;
}

// What a clip sets its register to.
inline int64_t ClippedExtent(const Clip& clip, const int64_t* counters, int depth) {
  const int64_t rest = static_cast<int64_t>(clip.limit) - ValueAt(clip.start, counters, depth);
  return std::clamp<int64_t>(rest, 0, clip.tile);
}

// Longest run that is accepted, so that no corrupted loop count can hang the process.
constexpr uint64_t kMaxDynamicInstructions = 200'000'000;

// The checksum of a saved program's payload.
uint32_t Crc32(const uint8_t* data, uint64_t length);

// Parses and checks a saved program. The blob must outlive the result, which points into it.
// Throws IsaError.
Program ParseProgram(const uint8_t* blob, uint64_t length);

// Decodes the instructions of a function with so many arguments and checks everything that is known
// before it runs. With `values` operands of `sizes` get these; with `same` they have to be those
// that are there.
std::vector<Instruction> DecodeCode(const uint8_t* code, uint64_t length, size_t arguments,
                                    const Sizes* sizes = nullptr,
                                    const std::vector<int64_t>& values = {}, bool same = false);

// The function for such sizes, with none left, and checked as any other. Throws IsaError.
Function AtSizes(const Function& function, const std::vector<int64_t>& sizes);

}  // namespace microscopiq
