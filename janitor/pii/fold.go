// SPDX-License-Identifier: Apache-2.0

package pii

func (r *scan) fold() {}
