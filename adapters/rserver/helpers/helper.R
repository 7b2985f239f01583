# Runs once in each R kernel. It leaves one option behind, "nbserv": a function that does what a request in a file says and
# writes the answer into another. All other names are in environments that only this function sees, so that neither
# rm(list = ls()) nor a user's function of the same name gets at them.
local({
  h <- new.env(parent = baseenv())
  h$io <- file.path(getwd(), "io")
  setwd("work")
  # Strings are UTF-8 throughout; in another locale R would print and parse them as escapes.
  if (!isTRUE(l10n_info()[["UTF-8"]])) suppressWarnings(Sys.setlocale("LC_CTYPE", "C.UTF-8"))

  evalq({
    # ---- values to JSON -------------------------------------------------------------------------------------------

    number <- function(x) {
      s <- sprintf("%.15g", x)
      # Fifteen digits where they read back as the same number; the bounds are those in which R's own reading is exact.
      short <- is.finite(x) & (x == 0 | (abs(x) > 1e-5 & abs(x) < 1e15))
      short[short] <- as.numeric(s[short]) == x[short]
      long <- is.finite(x) & !short
      s[long] <- sprintf("%.17g", x[long])
      s[is.nan(x)] <- "\"NaN\""
      s[is.na(x) & !is.nan(x)] <- "null"
      s[is.infinite(x) & x > 0] <- "\"Inf\""
      s[is.infinite(x) & x < 0] <- "\"-Inf\""
      s
    }

    text <- function(x) {
      if (length(x) == 0) return(character())
      x <- enc2utf8(x)
      bad <- !validUTF8(x)
      x[bad] <- iconv(x[bad], "UTF-8", "UTF-8", sub = "byte")
      Encoding(x) <- "UTF-8"
      s <- gsub("\"", "\\\"", gsub("\\", "\\\\", x, fixed = TRUE), fixed = TRUE)
      if (any(grepl("[\001-\037]", s, useBytes = TRUE))) {
        for (code in 1:31) s <- gsub(intToUtf8(code), sprintf("\\u%04x", code), s, fixed = TRUE)
      }
      s <- paste0("\"", s, "\"")
      s[is.na(x)] <- "null"
      s
    }

    # cells gives the JSON of each element of an atomic vector.
    cells <- function(x) {
      switch(typeof(x),
        logical = ifelse(is.na(x), "null", ifelse(x, "true", "false")),
        integer = ifelse(is.na(x), "null", sprintf("%d", x)),
        double = number(x),
        character = text(x),
        complex = text(ifelse(is.na(x), NA_character_, format(x, digits = 15))),
        stop("a value of type ", typeof(x), " cannot be written as JSON"))
    }

    array <- function(parts) paste0("[", paste(parts, collapse = ","), "]")

    object <- function(names, parts) {
      paste0("{", paste(text(make.unique(names)), parts, sep = ":", collapse = ","), "}")
    }

    # plain turns values with a class into what JSON has for them.
    plain <- function(x) {
      if (is.factor(x)) as.character(x)
      else if (inherits(x, "Date")) format(x, "%Y-%m-%d")
      else if (inherits(x, "POSIXt")) moment(as.POSIXct(x))
      else if (inherits(x, "difftime")) as.numeric(x, units = "secs")
      else if (is.raw(x)) jsonlite::base64_enc(x)
      else x
    }

    # moment writes times in UTC, to the microsecond where there is a fraction.
    moment <- function(x) {
      micro <- round(as.numeric(x) * 1e6)
      second <- as.POSIXct(micro %/% 1e6, origin = "1970-01-01", tz = "UTC")
      fraction <- micro %% 1e6
      ifelse(is.na(micro), NA_character_,
        paste0(format(second, "%Y-%m-%dT%H:%M:%S", tz = "UTC"), ifelse(fraction == 0, "", sprintf(".%06.0f", fraction)), "Z"))
    }

    # encode gives x as JSON. A vector of one element is the element itself where scalar is TRUE.
    encode <- function(x, scalar = TRUE) {
      if (is.null(x)) return("null")
      if (is.data.frame(x)) {
        return(object(names(x), vapply(x, encode, "", scalar = FALSE)))
      }
      x <- plain(x)
      if (is.atomic(x)) {
        d <- dim(x)
        if (length(d) == 2) return(array(rows(x)))
        if (length(d) > 2) return(array(apply(x, 1, encode, scalar = FALSE)))
        if (scalar && length(x) == 1) return(cells(x))
        return(array(cells(as.vector(x))))
      }
      if (is.language(x)) return(text(paste(deparse(x), collapse = "\n")))
      if (is.function(x)) return(text(paste(deparse(x), collapse = "\n")))
      if (is.list(x)) {
        parts <- vapply(unclass(x), encode, "")
        if (is.null(names(x)) || !all(nzchar(names(x)))) return(array(parts))
        return(object(names(x), parts))
      }
      stop("a value of class ", class(x)[1], " cannot be written as JSON")
    }

    rows <- function(x) {
      if (nrow(x) == 0 || ncol(x) == 0) return(rep("[]", nrow(x)))
      all <- matrix(cells(as.vector(x)), nrow(x))
      apply(all, 1, array)
    }

    # output gives a value in the type that a service has declared for it; "" is as it is.
    output <- function(x, type) {
      if (is.null(x)) return("null")
      switch(type,
        numeric = encode(as.numeric(x)),
        integer = encode(if (is.factor(x)) as.character(x) else as.integer(x)),
        logical = encode(as.logical(x)),
        character = encode(if (is.atomic(x) && is.null(oldClass(x))) as.character(x) else x),
        vector = encode(if (is.data.frame(x)) unname(as.list(x)) else if (is.null(dim(x))) x else as.vector(x), scalar = FALSE),
        matrix = array(rows(as.matrix(x))),
        data.frame = encode(as.data.frame(x, stringsAsFactors = FALSE, optional = TRUE)),
        encode(x))
    }

    # ---- JSON to values -------------------------------------------------------------------------------------------

    # element makes a vector of one of the four types; nulls are NA.
    element <- function(v, type) {
      if (is.list(v)) v <- unlist(lapply(v, function(e) if (is.null(e)) NA else e))
      switch(type, numeric = as.numeric(v), integer = as.integer(v), logical = as.logical(v), as.character(v))
    }

    input <- function(p) {
      v <- p$value
      if (is.null(v) && is.null(p$json)) {
        return(switch(p$type, numeric = NA_real_, integer = NA_integer_, logical = NA, character = NA_character_, NULL))
      }
      switch(p$type,
        numeric = , integer = , logical = , character = element(v, p$type),
        vector = element(v, p$elem),
        matrix = {
          if (length(v) == 0) matrix(element(list(), p$elem), 0, 0)
          else matrix(element(unlist(v), p$elem), length(v), byrow = TRUE)
        },
        data.frame = {
          columns <- Map(element, v, p$elems)
          structure(columns, names = as.character(names(v)), class = "data.frame",
            row.names = .set_row_names(if (length(columns) == 0) 0L else length(columns[[1]])))
        },
        factor = factor(element(v, "character")),
        Date = as.Date(element(v, "character"), format = "%Y-%m-%d"),
        POSIXct = moments(element(v, "character")),
        jsonlite::fromJSON(p$json, simplifyVector = FALSE))
    }

    moments <- function(s) {
      t <- strptime(sub("Z$", "", sub("T", " ", s)), "%Y-%m-%d %H:%M:%OS", tz = "UTC")
      day <- is.na(t) & !is.na(s)
      if (any(day)) t[day] <- strptime(s[day], "%Y-%m-%d", tz = "UTC")
      as.POSIXct(t)
    }

    # ---- running code ---------------------------------------------------------------------------------------------

    parsed <- new.env(parent = emptyenv()) # the last code and its expressions: a service runs the same for each call
    parsed$code <- NULL

    expressions <- function(code) {
      if (!identical(code, parsed$code)) {
        parsed$exprs <- parse(text = code, keep.source = FALSE, encoding = "UTF-8")
        parsed$code <- code
      }
      parsed$exprs
    }

    shown <- function(call) paste(deparse(call, nlines = 1L), collapse = "")

    problem <- function(e) {
      call <- conditionCall(e)
      ours <- is.null(call) || identical(call, quote(eval(exprs[[i]], env))) || identical(call[[1]], quote(parse))
      if (ours) paste0("Error: ", conditionMessage(e)) else paste0("Error in ", shown(call), " : ", conditionMessage(e))
    }

    warnings <- function(list) {
      one <- function(w) {
        call <- conditionCall(w)
        if (is.null(call) || identical(call, quote(eval(exprs[[i]], env)))) conditionMessage(w)
        else paste0("In ", shown(call), " : ", conditionMessage(w))
      }
      lines <- vapply(list, one, "")
      if (length(lines) == 1) paste0("Warning message:\n", lines, "\n")
      else paste0("Warning messages:\n", paste0(seq_along(lines), ": ", lines, "\n", collapse = ""))
    }

    run <- function(req) {
      env <- globalenv()
      depth <- sink.number()
      con <- if (nzchar(req$fifo)) fifo(req$fifo, open = "w", blocking = TRUE) else file(req$console, open = "wb")
      sink(con)
      on.exit({
        while (sink.number() > depth) sink()
        tryCatch({
          if (nzchar(req$fifo)) cat(req$mark, file = con)
          close(con)
        }, error = function(e) NULL)
      })
      say <- function(...) tryCatch(cat(..., sep = "", file = con), error = function(e) NULL)
      late <- list() # warnings of the expression that runs
      flush <- function() {
        if (length(late) > 0) say(warnings(late))
        late <<- list()
      }
      failure <- tryCatch(withCallingHandlers({
        for (p in req$inputs) assign(p$name, input(p), envir = env)
        exprs <- expressions(req$code)
        for (i in seq_along(exprs)) {
          value <- withVisible(eval(exprs[[i]], env))
          # In the user's world: a print method that they have defined is found.
          if (value$visible) eval(quote(if (isS4(x)) methods::show(x) else print(x)), list(x = value$value), env)
          flush()
        }
        NULL
      }, warning = function(w) {
        level <- getOption("warn")
        if (level >= 2) return()
        if (level == 1) say(warnings(list(w)))
        if (level == 0 && length(late) < 50) late[[length(late) + 1]] <<- w
        tryInvokeRestart("muffleWarning")
      }, message = function(m) {
        say(conditionMessage(m))
        tryInvokeRestart("muffleMessage")
      }), error = function(e) problem(e))
      if (!is.null(failure)) say(failure, "\n")
      flush()
      failure
    }

    results <- function(wanted) {
      vapply(wanted, function(o) {
        if (!exists(o$name, envir = globalenv(), inherits = FALSE)) stop("object '", o$name, "' not found")
        value <- tryCatch(output(get(o$name, envir = globalenv()), o$type),
          error = function(e) stop("output parameter '", o$name, "': ", conditionMessage(e), call. = FALSE))
        paste0("{\"name\":", text(o$name), ",\"value\":", value, "}")
      }, "")
    }

    # typed gives the expressions of code as they were typed.
    typed <- function(code) {
      exprs <- tryCatch(parse(text = code, keep.source = TRUE, encoding = "UTF-8"), error = function(e) NULL)
      if (is.null(exprs)) return(code)
      lines <- strsplit(code, "\n", fixed = TRUE)[[1]]
      # References count columns, and a tab as up to eight of them. (R 4.2 counts bytes wrongly where there are others.)
      column <- function(line) {
        at <- 0
        vapply(strsplit(line, "")[[1]], function(char) at <<- if (char == "\t") (at %/% 8 + 1) * 8 else at + 1, 0)
      }
      pick <- function(line, from, to) {
        at <- column(line)
        paste(strsplit(line, "")[[1]][at >= from & at <= to], collapse = "")
      }
      vapply(attr(exprs, "srcref"), function(s) {
        part <- lines[s[1]:s[3]]
        n <- length(part)
        part[n] <- pick(part[n], if (n == 1) s[5] else 0, s[6])
        if (n > 1) part[1] <- pick(part[1], s[5], Inf)
        paste(part, collapse = "\n")
      }, "")
    }

    execute <- function(req) {
      failure <- run(req)
      outputs <- character()
      if (is.null(failure)) {
        outputs <- tryCatch(results(req$outputs), error = function(e) {
          failure <<- conditionMessage(e)
          character()
        })
      }
      paste0("{\"success\":", if (is.null(failure)) "true" else "false",
        ",\"error\":", text(if (is.null(failure)) "" else failure), ",\"outputs\":", array(outputs),
        ",\"history\":", array(if (nzchar(req$fifo)) text(typed(req$code)) else character()), "}")
    }

    # ---- a clean environment for each call --------------------------------------------------------------------------

    base <- NULL # what a service's kernel was when it had its snapshot and its initCode

    # reached gives the environments that values hold and a call could change: not packages, not the workspace itself.
    reached <- function(values) {
      found <- list()
      known <- list(globalenv(), baseenv(), emptyenv())
      visit <- function(x) {
        if (is.function(x) && !is.primitive(x)) x <- environment(x)
        if (is.environment(x)) {
          if (isNamespace(x) || !is.null(attr(x, "name")) || nzchar(environmentName(x))) return()
          for (e in known) if (identical(e, x)) return()
          known[[length(known) + 1]] <<- x
          values <- as.list.environment(x, all.names = TRUE)
          found[[length(found) + 1]] <<- list(env = x, values = values)
          if (length(found) > 1000) stop("too many environments")
          visit(parent.env(x))
          for (v in values) visit(v)
        } else if (is.list(x)) {
          for (v in unclass(x)) visit(v)
        } else if (isS4(x) && isVirtualClass(class(x)) == FALSE) {
          for (s in methods::slotNames(x)) visit(methods::slot(x, s))
        }
      }
      for (v in values) visit(v)
      found
    }

    # objects gives the names of the workspace's objects; pbdZMQ, through which the kernel talks, keeps one there.
    objects <- function() setdiff(ls(globalenv(), all.names = TRUE), ".pbd_env")

    baseline <- function() {
      values <- mget(objects(), globalenv())
      # More environments than can be put back after each call: the kernel serves one call only.
      envs <- tryCatch(reached(values), error = function(e) NULL)
      base <<- list(values = values, envs = envs, options = options(), search = search(), wd = getwd(),
        env = Sys.getenv(), rng = RNGkind(), devices = grDevices::dev.list(), connections = getAllConnections())
      sprintf("{\"success\":true,\"error\":\"\",\"reusable\":%s}", if (is.null(envs)) "false" else "true")
    }

    refill <- function(env, values, now = ls(env, all.names = TRUE)) {
      extra <- setdiff(now, names(values))
      if (length(extra) > 0) rm(list = extra, envir = env)
      for (n in names(values)) {
        if (exists(n, envir = env, inherits = FALSE) && bindingIsLocked(n, env)) next
        assign(n, values[[n]], envir = env)
      }
    }

    reset <- function() {
      for (e in base$envs) if (!environmentIsLocked(e$env)) refill(e$env, e$values)
      refill(globalenv(), base$values, objects())
      for (s in setdiff(search(), base$search)) detach(s, character.only = TRUE)
      now <- options()
      if (!identical(now, base$options)) {
        changed <- base$options[!mapply(identical, base$options, now[names(base$options)])]
        added <- setdiff(names(now), names(base$options))
        options(c(changed, structure(vector("list", length(added)), names = added)))
      }
      setwd(base$wd)
      env <- Sys.getenv()
      if (!identical(env, base$env)) {
        added <- setdiff(names(env), names(base$env))
        if (length(added) > 0) Sys.unsetenv(added)
        changed <- base$env[!(names(base$env) %in% names(env)) | base$env != env[names(base$env)]]
        if (length(changed) > 0) do.call(Sys.setenv, as.list(changed))
      }
      if (!identical(RNGkind(), base$rng)) {
        do.call(RNGkind, as.list(base$rng))
        refill(globalenv(), base$values, objects())
      }
      for (d in setdiff(grDevices::dev.list(), c(base$devices, current))) grDevices::dev.off(d)
      for (n in setdiff(getAllConnections(), c(base$connections, open))) close(getConnection(n))
    }
    current <- NULL # devices and connections of the kernel's own, when a call began
    open <- NULL

    # ---- the requests ---------------------------------------------------------------------------------------------

    perform <- function(req) {
      done <- "{\"success\":true,\"error\":\"\"}"
      switch(req$op,
        execute = execute(req),
        names = paste0("{\"success\":true,\"error\":\"\",\"names\":", array(text(ls(globalenv()))), "}"),
        get = {
          if (!exists(req$name, envir = globalenv(), inherits = FALSE)) return("{\"success\":false,\"missing\":true,\"error\":\"\"}")
          con <- file(req$path, "wb")
          on.exit(close(con))
          serialize(get(req$name, envir = globalenv()), con)
          done
        },
        put = {
          con <- gzfile(req$path, "rb")
          on.exit(close(con))
          assign(req$name, unserialize(con), envir = globalenv())
          done
        },
        delete = {
          if (!exists(req$name, envir = globalenv(), inherits = FALSE)) return("{\"success\":false,\"missing\":true,\"error\":\"\"}")
          rm(list = req$name, envir = globalenv())
          done
        },
        save = {
          save(list = objects(), file = req$path, envir = globalenv(), compress = FALSE)
          attached <- setdiff(rev(.packages()), c(getOption("defaultPackages"), "base"))
          paste0("{\"success\":true,\"error\":\"\",\"names\":", array(text(attached)), "}")
        },
        load = {
          for (p in req$packages) suppressPackageStartupMessages(library(p, character.only = TRUE))
          if (nzchar(req$path)) load(req$path, envir = globalenv())
          done
        },
        baseline = baseline(),
        stop("unknown request"))
    }

    call <- function(n) {
      current <<- grDevices::dev.list()
      open <<- getAllConnections()
      path <- file.path(io, n)
      json <- readChar(path, file.size(path), useBytes = TRUE)
      file.remove(path) # which says that it was read
      Encoding(json) <- "UTF-8"
      req <- jsonlite::fromJSON(json, simplifyVector = TRUE, simplifyDataFrame = FALSE, simplifyMatrix = FALSE)
      answer <- tryCatch(perform(req), error = function(e)
        paste0("{\"success\":false,\"error\":", text(conditionMessage(e)), "}"))
      if (isTRUE(req$reset)) {
        clean <- tryCatch({
          reset()
          "true"
        }, error = function(e) "false")
        answer <- paste0("{\"clean\":", clean, ",", substring(answer, 2))
      }
      out <- file(paste0(path, ".out"), open = "wb")
      writeLines(answer, out, useBytes = TRUE)
      close(out)
      invisible(NULL)
    }
  }, h)

  # Packages are loaded and functions compiled when they are first used: here, where nobody waits. Without jsonlite it fails.
  for (i in 1:2) {
    writeLines("{\"op\":\"names\"}", file.path(h$io, "first"))
    h$call("first")
  }
  file.remove(file.path(h$io, "first.out"))

  options(nbserv = h$call)
})
