#include "program/listing.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "errors.h"

namespace microscopiq {
namespace {

std::string Decimal(int64_t value) { return std::to_string(value); }

// Small numbers read better in decimal.
std::string Address(int64_t value) {
  if (value >= -9 && value <= 9) return Decimal(value);
  std::ostringstream out;
  out << Hex{value};
  return out.str();
}

std::string Times(int64_t factor, int level) {
  return (factor == 1 ? "" : Decimal(factor) + "*") + "i" + Decimal(level);
}

void Append(std::string* sum, const std::string& term) { *sum += (sum->empty() ? "" : "+") + term; }

std::string Ring(const Affine& affine) {
  std::string turn;
  int terms = 0;
  for (int level = 0; level < kLoopDepth; ++level) {
    if (!affine.turns[level]) continue;
    Append(&turn, Times(affine.turns[level], level));
    ++terms;
  }
  if (terms == 0) turn = "0";
  if (terms > 1) turn = "(" + turn + ")";
  const std::string ring = "(" + turn + "%" + Decimal(affine.slots) + ")";
  return affine.slot_step == 1 ? ring : Address(affine.slot_step) + "*" + ring;
}

std::string AffineText(const Affine& affine) {
  std::string sum;
  if (affine.base) sum = Address(affine.base);
  for (int level = 0; level < kLoopDepth; ++level) {
    if (affine.strides[level]) Append(&sum, Times(affine.strides[level], level));
  }
  if (affine.slots > 1) Append(&sum, Ring(affine));
  return sum.empty() ? "0" : sum;
}

// The shortest decimal that reads back as the same double, laid out as Python's `repr` does.
std::string FloatText(double value) {
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char text[40];
  // Not `printf` at a growing precision: it rounds the exact value, which for some powers of two
  // isn't the decimal that is nearest among those of that length which read back.
  *std::to_chars(text, text + sizeof(text) - 1, value, std::chars_format::scientific).ptr = '\0';
  std::string digits;
  const char* place = text;
  for (; *place != 'e'; ++place) {
    if (*place >= '0' && *place <= '9') digits += *place;
  }
  const int exponent = std::atoi(place + 1);
  const std::string sign = std::signbit(value) ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    const std::string fraction = digits.size() > 1 ? "." + digits.substr(1) : "";
    char power[8];
    std::snprintf(power, sizeof(power), "e%+03d", exponent);
    return sign + digits[0] + fraction + power;
  }
  if (exponent < 0) return sign + "0." + std::string(-exponent - 1, '0') + digits;
  const size_t whole = exponent + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

// The visitor that the generated `Show` methods call, one call per operand.
class OperandPrinter {
 public:
  void u8(const char* name, int value) { Add(name, Decimal(value)); }
  void u16(const char* name, int value) { Add(name, Decimal(value)); }
  void u32(const char* name, uint32_t value) { Add(name, Decimal(value)); }
  void i32(const char* name, int32_t value) { Add(name, Decimal(value)); }
  void i64(const char* name, int64_t value) { Add(name, Decimal(value)); }
  void f32(const char* name, float value) { Add(name, FloatText(value)); }
  void affine(const char* name, const Affine& value) { Add(name, "[" + AffineText(value) + "]"); }
  void argument(const char* name, int value) { Add(name, Decimal(value)); }
  void extent(const char* name, int value) { Add(name, "e" + Decimal(value)); }
  void mem(const char* name, int value) { Add(name, kMemNames[value]); }
  void unit(const char* name, int value) { Add(name, kUnitNames[value]); }

  const std::string& text() const { return text_; }

 private:
  void Add(const char* name, const std::string& value) {
    text_ += text_.empty() ? " " : ", ";
    text_ += std::string(name) + "=" + value;
  }

  std::string text_;
};

}  // namespace

std::string Text(const Operation& operation) {
  return std::visit(
      [](const auto& op) -> std::string {
        using T = std::decay_t<decltype(op)>;
        if constexpr (std::is_same_v<T, std::monostate>) {
          return "?";
        } else {
          OperandPrinter printer;
          op.Show(&printer);
          return T::kMnemonic + printer.text();
        }
      },
      operation);
}

std::string CountersText(const int64_t* counters, size_t depth) {
  std::string out;
  for (size_t level = 0; level < depth; ++level) {
    out += (level ? ", i" : ", loops i") + Decimal(level) + "=" + Decimal(counters[level]);
  }
  return out;
}

std::string Listing(const Function& function) {
  std::string out;
  size_t depth = 0;
  for (const Instruction& instruction : function.code) {
    depth -= std::holds_alternative<EndLoop>(instruction.operation);
    char offset[16];
    std::snprintf(offset, sizeof(offset), "  %05x  ", static_cast<unsigned>(instruction.pc));
    out += offset + std::string(2 * depth, ' ') + Text(instruction.operation) + "\n";
    depth += std::holds_alternative<Loop>(instruction.operation);
  }
  return out;
}

}  // namespace microscopiq
