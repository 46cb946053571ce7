#include "memory/replay.h"

#include <algorithm>

#include "memory/panels.h"
#include "weights/outlier.h"

namespace microscopiq {
namespace {

// Adds the outliers of an input to the lists of their strips, by exponent as they come.
void AddInput(int input, const std::vector<Outlier>& outliers, int strip_columns,
              std::vector<std::vector<ReplayEntry>>* lists) {
  int block = -1;
  for (const Outlier& outlier : outliers) {
    std::vector<ReplayEntry>& list = (*lists)[outlier.upper / strip_columns];
    auto entry = list.end();
    while (entry != list.begin() && (entry - 1)->input == input) {
      if ((--entry)->relative == outlier.relative) break;
    }
    const bool known =
        entry != list.end() && entry->input == input && entry->relative == outlier.relative;
    if (!known) entry = list.insert(list.end(), {input, outlier.relative, 0});
    // All outliers of a micro-block have one exponent.
    if (outlier.upper / kMicroBlock != block) ++entry->blocks;
    block = outlier.upper / kMicroBlock;
  }
}

}  // namespace

ReplayRows ListReplayRows(const Memory& wbuf, const Panel& panel, const std::vector<int64_t>& rows,
                          int col0, int cols, int strip_columns) {
  ReplayRows found;
  found.panel_rows = panel.rows;
  found.strip_columns = strip_columns;
  found.strips = (cols + strip_columns - 1) / strip_columns;
  found.digits = OutlierDigits(*panel.format);
  found.identifier_bytes = panel.identifier_bytes();
  std::vector<std::vector<ReplayEntry>> lists(found.strips);
  std::vector<Outlier> outliers;
  for (int input = 0; input < panel.rows; ++input) {
    outliers.clear();
    found.bytes.push_back(ReadOutliers(wbuf, panel, rows[input], col0, cols, &outliers));
    AddInput(input, outliers, strip_columns, &lists);
  }
  size_t length = 0;
  for (const auto& list : lists) length = std::max(length, list.size());
  found.entries.resize(length * found.strips);
  for (int strip = 0; strip < found.strips; ++strip) {
    for (size_t i = 0; i < lists[strip].size(); ++i) {
      found.entries[i * found.strips + strip] = lists[strip][i];
    }
  }
  return found;
}

const ReplayRows& ReplayIndex::Rows(const Memory& wbuf, const Panel& panel,
                                    const std::vector<int64_t>& rows, int col0, int cols,
                                    int strip_columns) {
  if (panel.address != address_ || wbuf.version() != version_) known_.clear();
  address_ = panel.address;
  version_ = wbuf.version();
  for (const Known& known : known_) {
    if (known.col0 == col0 && known.cols == cols) return known.rows;
  }
  known_.push_back({col0, cols, ListReplayRows(wbuf, panel, rows, col0, cols, strip_columns)});
  return known_.back().rows;
}

}  // namespace microscopiq
