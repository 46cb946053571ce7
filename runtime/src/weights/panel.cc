#include "weights/panel.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "errors.h"
#include "kernels/slot.h"

namespace microscopiq {

namespace {

struct AddedFormat {
  std::string name;
  std::vector<int8_t> values;
  WeightFormat format;
};
std::mutex added_mutex;
std::deque<AddedFormat>& Added() {
  static std::deque<AddedFormat> added;  // whose elements never move
  return added;
}

}  // namespace

const WeightFormat* FindFormat(int code) {
  for (const WeightFormat& format : kWeightFormats) {
    if (format.code == code) return &format;
  }
  const std::lock_guard<std::mutex> lock(added_mutex);
  for (const AddedFormat& added : Added()) {
    if (added.format.code == code) return &added.format;
  }
  return nullptr;
}

void AddFormat(WeightFormat format) {
  if (format.bits < 2 || format.bits > 8 || format.pe_bits > 8 ||
      (format.has_outliers && SlotBits(format.bits) != format.bits)) {
    Fail(kConfigError, "weight format '", format.name, "': slots of ", format.bits, " bits",
         format.has_outliers ? " with outliers; allowed: 2, 4, 8" : "; allowed: 2 to 8");
  }
  const std::lock_guard<std::mutex> lock(added_mutex);
  AddedFormat& added = Added().emplace_front(
      AddedFormat{format.name, {format.values, format.values + (1 << format.bits)}, format});
  added.format.name = added.name.c_str();
  added.format.values = added.values.data();
}

float Panel::weight_scale() const { return std::ldexp(1.0f, exponent - format->guard_bits); }

void CheckPanel(int64_t number, const uint8_t* data, int64_t bytes) {
  const WeightFormat* format = bytes ? FindFormat(data[0]) : nullptr;
  if (!format) return;
  const bool scaled_rows = format->scale == ScaleKind::kRowPow2;
  Panel panel;
  panel.format = format;
  int64_t end = kPanelHeaderBytes;
  if (bytes >= end) {
    panel.rows = data[1] + 1;
    panel.cols = data[2] + 1;
    panel.exponent = static_cast<int8_t>(data[3]);
    end = panel.tail() + panel.factor_bytes() + panel.scale_bytes() * panel.cols;
  }
  if (!scaled_rows && panel.exponent != 0) {
    Fail(kIsaError, "weight panel ", number, " (", format->name, "): base exponent ",
         panel.exponent, "; allowed: 0");
  }
  const int identifier_bytes = panel.identifier_bytes();
  for (int row = 0; scaled_rows && row < panel.rows && end <= bytes; ++row) {
    const int64_t identifier = end + 1;
    end = identifier + identifier_bytes;
    const int blocks = format->has_outliers ? panel.micro_blocks() : 0;
    for (int block = 0; block < blocks && end <= bytes; ++block) {
      if (data[identifier + block / 8] >> (block % 8) & 1) end += 4;
    }
  }
  if (end != bytes) {
    Fail(kIsaError, "weight panel ", number, " (", panel.rows, "x", panel.cols, " of ",
         format->name, ") has ", bytes, " bytes; its contents end at ", end);
  }
}

float HalfToFloat(uint16_t half) {
  float magnitude;
  uint32_t exponent = half >> 10 & 31, mantissa = half & 1023;
  if (exponent == 31) {
    magnitude = mantissa ? NAN : INFINITY;
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(mantissa), -24);
  } else {
    magnitude = std::ldexp(static_cast<float>(1024 + mantissa), static_cast<int>(exponent) - 25);
  }
  return half & 0x8000 ? -magnitude : magnitude;
}

void ColumnScales(const Panel& panel, const uint8_t* stored, int64_t cols, float* scales) {
  const WeightFormat& format = *panel.format;
  const float unit = std::ldexp(1.0f, -format.fraction_bits);
  float factor = 1;
  if (panel.factor_bytes()) std::memcpy(&factor, stored, sizeof(factor));
  stored += panel.factor_bytes();
  for (int64_t col = 0; col < cols; ++col) {
    switch (format.scale) {
      case ScaleKind::kColumnFp16: {
        uint16_t half;
        std::memcpy(&half, stored + 2 * col, sizeof(half));
        scales[col] = HalfToFloat(half) * unit;
        break;
      }
      case ScaleKind::kColumnE8M0:
        if (stored[col] <= format.fraction_bits || stored[col] == 255) {
          Fail(kSimError, "column ", col, " of the panel at ", Hex{panel.address}, ": E8M0 scale ",
               int{stored[col]}, "; allowed: ", format.fraction_bits + 1, " to 254");
        }
        scales[col] = std::ldexp(unit, stored[col] - 127);
        break;
      case ScaleKind::kColumnE4M3: {
        const int exponent = stored[col] >> 3, mantissa = stored[col] & 7;
        if (stored[col] > 126) {
          Fail(kSimError, "column ", col, " of the panel at ", Hex{panel.address}, ": E4M3 scale ",
               int{stored[col]}, "; allowed: 0 to 126");
        }
        const float significand = static_cast<float>((exponent ? 8 : 0) + mantissa);
        scales[col] = std::ldexp(significand, std::max(exponent, 1) - 10) * unit * factor;
        break;
      }
      case ScaleKind::kRowPow2:
        scales[col] = panel.weight_scale();
        break;
    }
  }
}

}  // namespace microscopiq
