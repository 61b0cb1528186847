// Package migrations stands in for Gitea's own when `tests/run` builds it: that one needs modules of other platforms which no module
// proxy serves, and no test migrates anything.
package migrations

import (
	"context"
	"errors"
	"net/http"

	repo_model "gitea.dev/models/repo"
	user_model "gitea.dev/models/user"
	base "gitea.dev/modules/migration"
)

type MigrateOptions = base.MigrateOptions

var errNone = errors.New("migrations are not part of this build")

func IsMigrateURLAllowed(string, *user_model.User) error { return nil }

func MigrateRepository(context.Context, *user_model.User, string, base.MigrateOptions, base.Messenger) (*repo_model.Repository, error) {
	return nil, errNone
}

func DumpRepository(context.Context, string, string, base.MigrateOptions) error { return errNone }

func RestoreRepository(context.Context, string, string, string, []string, bool) error {
	return errNone
}

func Init() error                                   { return nil }
func UpdateMigrationPosterID(context.Context) error { return nil }
func IsRateLimitError(error) bool                   { return false }
func IsTwoFactorAuthError(error) bool               { return false }
func NewMigrationHTTPTransport() *http.Transport    { return &http.Transport{} }
