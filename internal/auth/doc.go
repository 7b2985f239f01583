// Package auth decides who may use the server: tokens, the password and its login page, the login cookie, XSRF,
// Origin and Host. It is applied once, by cmd, around the whole route table; the only routes that ask for no
// credentials are in one list (public.go).
//
// Nouns: User is who asks, as far as one shared token can tell people apart. A login cookie carries the User,
// signed with a key that is made of a secret in the state folder and of the current credentials, so that changing a
// token or a password ends every cookie, also over a restart. Clients that send the token need no cookie and are
// asked for no XSRF token; browsers that send the cookie are asked for both a right origin and the XSRF token.
//
// Accounts are people whom dialects know by name and password. They are kept in the database, log in for a short-lived
// access token (a JWT) and a refresh token that is good once, and reach the dialects that ask for them, nothing else.
//
// The package starts no goroutine. *Auth is safe for concurrent use.
//
// Specifications: jupyter_server's REST behaviour, RFC 6265 (cookies), RFC 6454 (origins), Fetch Metadata
// (Sec-Fetch-Site), the CORS protocol of the Fetch standard, RFC 7519 (JWT), RFC 6750 (bearers).
package auth
