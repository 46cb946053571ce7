#include "mutate.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "parts.h"
#include "program/program.h"

namespace microscopiq {
namespace {

uint64_t Below(Random* random, uint64_t end) { return end ? (*random)() % end : 0; }
bool OneIn(Random* random, int count) { return Below(random, count) == 0; }

// Numbers at which something changes its kind.
uint64_t Notable(Random* random) {
  static const int64_t kNotable[] = {
      0,   1,    2,    3,         4,         7,         8,         15,
      16,  63,   64,   127,       128,       129,       255,       256,
      511, 1024, 4096, 16383,     16384,     32767,     65535,     -1,
      -2,  -4,   -128, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, int64_t{1} << 60};
  if (OneIn(random, 3)) return (*random)() >> Below(random, 64);
  return static_cast<uint64_t>(kNotable[Below(random, std::size(kNotable))]);
}

constexpr size_t kLargeBytes = 80;  // waits, posts, clips and loops are smaller

struct Field {
  size_t offset;
  size_t bytes;
};

// Lists where an instruction's operands lie; the generated `Read` methods call it.
class FieldLister {
 public:
  void u8(uint8_t*) { Add(1); }
  void u16(uint16_t*) { Add(2); }
  void u32(uint32_t*) { Add(4); }
  void i32(int32_t*) { Add(4); }
  void i64(int64_t*) { Add(8); }
  void f32(float*) { Add(4); }
  void extent(uint8_t*) { Add(1); }
  void mem(uint8_t*) { Add(1); }
  void argument(uint8_t*) { Add(1); }
  void unit(uint8_t*) { Add(1); }
  void affine(Affine* value) {
    Add(sizeof(value->base));
    // Most strides are of loops that aren't open, where the loader wants zeros.
    for (int again = 0; again < 2 * kLoopDepth; ++again) fields.push_back(fields.back());
    for (int level = 0; level < kLoopDepth; ++level) Add(sizeof(value->strides[0]));
    for (int level = 0; level < kLoopDepth; ++level) Add(1);
    Add(1);
    Add(1);  // padding
    Add(sizeof(value->slot_step));
  }

  std::vector<Field> fields;

 private:
  void Add(size_t bytes) {
    fields.push_back({end_, bytes});
    end_ += bytes;
  }

  size_t end_ = 4;
};

struct Shape {
  uint16_t opcode;
  uint16_t bytes;
  std::vector<Field> fields;
};

const std::vector<Shape>& Shapes() {
  static const std::vector<Shape> shapes = [] {
    std::vector<Shape> found;
#define MICROSCOPIQ_SHAPE(Type)                                    \
  {                                                                \
    Type op;                                                       \
    FieldLister lister;                                            \
    op.Read(&lister);                                              \
    found.push_back({Type::kOpcode, Type::kBytes, lister.fields}); \
  }
    MICROSCOPIQ_INSTRUCTIONS(MICROSCOPIQ_SHAPE)
#undef MICROSCOPIQ_SHAPE
    return found;
  }();
  return shapes;
}

const Shape* ShapeOf(const std::string& instruction) {
  for (const Shape& shape : Shapes()) {
    if (instruction.size() == shape.bytes &&
        std::memcmp(instruction.data(), &shape.opcode, 2) == 0) {
      return &shape;
    }
  }
  return nullptr;
}

void Overwrite(std::string* bytes, size_t offset, size_t count, uint64_t value) {
  std::memcpy(&(*bytes)[offset], &value, count);
}

void ChangeOperand(std::string* instruction, Random* random) {
  const Shape* shape = ShapeOf(*instruction);
  if (!shape || shape->fields.empty()) return;
  const Field field = shape->fields[Below(random, shape->fields.size())];
  uint64_t value = 0;
  std::memcpy(&value, &(*instruction)[field.offset], field.bytes);
  switch (Below(random, 4)) {
    case 0:
      value = Notable(random);
      break;
    case 1:
      value += Below(random, 17) - 8;
      break;
    case 2:
      value ^= uint64_t{1} << Below(random, 8 * field.bytes);
      break;
    default:
      value = Below(random, 8);
  }
  Overwrite(instruction, field.offset, field.bytes, value);
}

// Mostly zeros and small numbers: larger ones are refused before anything happens.
std::string MakeInstruction(Random* random) {
  const Shape& shape = Shapes()[Below(random, Shapes().size())];
  std::string bytes(shape.bytes, '\0');
  Overwrite(&bytes, 0, 2, shape.opcode);
  Overwrite(&bytes, 2, 2, shape.bytes);
  for (const Field& field : shape.fields) {
    if (OneIn(random, 3)) Overwrite(&bytes, field.offset, field.bytes, Below(random, 6));
    if (OneIn(random, 40)) Overwrite(&bytes, field.offset, field.bytes, Notable(random));
  }
  return bytes;
}

void ChangeBytes(std::string* bytes, Random* random) {
  if (bytes->empty()) return;
  const size_t place = Below(random, bytes->size());
  const size_t count = std::min<size_t>(bytes->size() - place, size_t{1} << Below(random, 4));
  Overwrite(bytes, place, count, Notable(random));
}

void ChangeLength(std::string* bytes, Random* random) {
  const size_t place = Below(random, bytes->size() + 1);
  const size_t count = std::min<size_t>(bytes->size() - place, Below(random, 40));
  if (OneIn(random, 2)) {
    bytes->erase(place, count);
  } else {
    bytes->insert(place, bytes->substr(place, count));
  }
}

void Repeat(std::vector<std::string>* code, Random* random) {
  const size_t first = Below(random, code->size() + 1), last = Below(random, code->size() + 1);
  std::string loop = {1, 0, 8, 0, 0, 0, 0, 0}, end = {2, 0, 4, 0};
  loop[4] = static_cast<char>(1 + Below(random, 4));
  code->insert(code->begin() + std::max(first, last), end);
  code->insert(code->begin() + std::min(first, last), loop);
}

void ChangeCode(std::vector<std::string>* code, Random* random) {
  if (code->empty()) return code->push_back(MakeInstruction(random));
  const size_t place = Below(random, code->size()), other = Below(random, code->size());
  switch (Below(random, 16)) {
    case 0:
    case 1:
      code->erase(code->begin() + place);
      break;
    case 2:
      code->insert(code->begin() + place, std::string((*code)[other]));
      break;
    case 3:
      std::swap((*code)[place], (*code)[other]);
      break;
    case 4:
    case 5:
      code->insert(code->begin() + place, MakeInstruction(random));
      break;
    case 6:
      Repeat(code, random);
      break;
    default:
      // The larger ones do the work; a change of the others ends most runs at once.
      ChangeOperand(&(*code)[(*code)[place].size() > kLargeBytes ? place : other], random);
  }
}

void ChangePart(ProgramParts* parts, Random* random) {
  if (parts->functions.empty() || OneIn(random, 20)) {
    if (parts->arch_values.empty() || OneIn(random, 3)) return ChangeBytes(&parts->head, random);
    const size_t place = parts->arch_values[Below(random, parts->arch_values.size())];
    return Overwrite(&parts->head, place, 8, Notable(random));
  }
  FunctionParts& function = parts->functions[Below(random, parts->functions.size())];
  switch (Below(random, 20)) {
    case 0:
      return ChangeBytes(&function.head, random);
    case 1:
      return ChangeBytes(&function.tail, random);
    case 2:
      return ChangeLength(&function.weights, random);
    case 3:
    case 4:
    case 5:
      return ChangeBytes(&function.weights, random);
    case 6:
      if (OneIn(random, 4)) parts->functions.push_back(FunctionParts(function));
      return;
    default:
      return ChangeCode(&function.code, random);
  }
}

}  // namespace

std::string Mutate(const std::string& program, Random* random) {
  std::string out;
  ProgramParts parts;
  if (!OneIn(random, 25) && Split(program, &parts)) {
    do {
      ChangePart(&parts, random);
    } while (OneIn(random, 2));
    out = Seal(Join(parts));
  } else {
    out = program;
    OneIn(random, 4) ? ChangeLength(&out, random) : ChangeBytes(&out, random);
    if (out.size() > kHeadBytes && !OneIn(random, 4)) out = Seal(out.substr(kHeadBytes));
  }
  return out;
}

std::string MakeUp(const std::string& program, Random* random) {
  ProgramParts parts;
  if (!Split(program, &parts)) return program;
  for (FunctionParts& function : parts.functions) {
    std::vector<std::string> code;
    // Its clips are kept: without extents nothing runs.
    const std::string clip = {3, 0};
    for (const std::string& instruction : function.code) {
      if (instruction.compare(0, 2, clip) == 0) code.push_back(instruction);
    }
    for (uint64_t left = Below(random, 30); left > 0; --left) {
      code.push_back(MakeInstruction(random));
    }
    code.push_back({7, 0, 4, 0});
    function.code = std::move(code);
    if (OneIn(random, 8)) ChangeBytes(&function.weights, random);
  }
  return Seal(Join(parts));
}

}  // namespace microscopiq
