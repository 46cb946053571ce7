// Outliers that are multiplied in array rows of their own: which rows an unfolded panel has.
//
// Behind the panel's rows come those of its outliers. Each strip of columns lists its own: for each
// input with outliers in the strip, and each of their exponents, as many rows as an outlier has
// digits.
#pragma once
#include <cstdint>
#include <vector>

#include "memory/memory.h"
#include "weights/panel.h"

namespace microscopiq {

struct ReplayEntry {
  int input = -1;    // panel row whose outliers these are; -1: none
  int relative = 0;  // their E - Isf
  int blocks = 0;    // micro-blocks with such outliers
};

struct ReplayRows {
  int panel_rows = 0;
  int strips = 0;
  int strip_columns = 0;
  int digits = 0;
  std::vector<ReplayEntry> entries;  // (rows of outliers / digits, strips)
  std::vector<int64_t> bytes;        // of each panel row's outliers in wbuf
  int64_t identifier_bytes = 0;      // of a panel row

  int rows() const { return panel_rows + static_cast<int>(entries.size()) / strips * digits; }
  // What a row behind the panel's holds in a strip.
  const ReplayEntry& At(int row, int strip) const {
    return entries[(row - panel_rows) / digits * strips + strip];
  }
  int DigitOf(int row) const { return (row - panel_rows) % digits; }
};

// `rows` is where the metadata of each panel row starts. Throws SimError for malformed metadata.
ReplayRows ListReplayRows(const Memory& wbuf, const Panel& panel, const std::vector<int64_t>& rows,
                          int col0, int cols, int strip_columns);

// The lists of the panel that was asked for last, by columns: those of all its planes ask again.
class ReplayIndex {
 public:
  const ReplayRows& Rows(const Memory& wbuf, const Panel& panel, const std::vector<int64_t>& rows,
                         int col0, int cols, int strip_columns);

 private:
  struct Known {
    int col0;
    int cols;
    ReplayRows rows;
  };

  int64_t address_ = -1;
  uint64_t version_ = 0;
  std::vector<Known> known_;
};

}  // namespace microscopiq
