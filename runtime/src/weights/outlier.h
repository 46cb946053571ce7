// Integers of outliers, and their digits for arrays that multiply outliers without ReCoN.
#pragma once
#include "isa.gen.h"

namespace microscopiq {

// (hidden bit + Upper >> h + Lower >> 2h) << guard bits, of the codes of an outlier's halves.
int MergedOutlier(const WeightFormat& format, int upper, int lower);

// Digits of a slot's width that any outlier's integer has in two's complement.
int OutlierDigits(const WeightFormat& format);

// A digit, from the lowest on: the highest one has the sign, the others are 0 or more.
int OutlierDigit(const WeightFormat& format, int merged, int digit);

}  // namespace microscopiq
