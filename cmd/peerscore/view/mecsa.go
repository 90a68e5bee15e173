package view

import "peerscore/assess"

// The figures of MECSA's own population: report EUR 29674 EN, figures 4, 5 and 6, December
// 2018, 4,606 providers; stars by the published data set of 14,476 assessments. In per cent.
var (
	mecsaStars = map[assess.Category]map[float64]float64{
		assess.Confidentiality: {0: 12.16, 3: 18.93, 3.5: 1.00, 4: 56.21, 4.5: 4.75, 5: 6.95},
		assess.Identity:        {0: 26.73, 2.5: 8.21, 3: 24.21, 3.5: 17.54, 4: 3.76, 4.5: 13.27, 5: 6.30},
		assess.Integrity:       {0: 9.60, 1: 13.59, 2: 28.53, 2.5: 1.26, 3: 3.56, 3.5: 25.21, 4: 0.91, 5: 17.35},
	}
	mecsaSupport = map[assess.Standard]float64{
		assess.StartTLS: 87, assess.X509: 70, assess.SPF: 63, assess.DKIM: 44, assess.DMARC: 23, assess.DANE: 9, assess.DNSSEC: 10,
	}
)

const mecsaMinimumSet = 25.66
