// Weight panels as they lie in wbuf.
#pragma once
#include <cstdint>
#include <vector>

#include "memory/memory.h"
#include "weights/panel.h"

namespace microscopiq {

// Reads a panel's header and checks its format. Throws SimError.
Panel ReadPanel(const Memory& wbuf, int64_t address, int format_code);

// Where the metadata of each row of a panel starts whose rows have powers of two.
//
// Rows vary in length, so finding one means walking over all before it. `preload` and
// `recon.config` of all tiles of a panel ask again and again: the walk is kept until wbuf changes.
class PanelIndex {
 public:
  const std::vector<int64_t>& Rows(const Memory& wbuf, const Panel& panel);

 private:
  int64_t address_ = -1;
  uint64_t version_ = 0;
  std::vector<int64_t> rows_;
};

// Appends the outliers of a panel row that lie in columns [col0, col0 + cols); returns the bytes
// of wbuf that took. Throws SimError for malformed metadata.
int64_t ReadOutliers(const Memory& wbuf, const Panel& panel, int64_t row_address, int col0,
                     int cols, std::vector<Outlier>* outliers);

}  // namespace microscopiq
